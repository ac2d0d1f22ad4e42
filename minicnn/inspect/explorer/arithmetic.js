"use strict";
// The page's own arithmetic: the twin of minicnn/geometry.py and of what minicnn's layers say about themselves.
// tests/test_explorer.py compares the two over every network, with their messages where something does not fit.
// Shapes are [C, H, W] or [features], without the batch. Letters as there: R S window, P Q output, G groups.

const LONGEST = 2 ** 31 - 1;

/** What does not fit. `remedy`: the arguments with which the layer would take what it gets, if there are any. */
class Misfit extends Error {
  constructor(kind, message, remedy = null) {
    super(message);
    this.kind = kind; // "argument": the layer cannot be made; "window": the map is too small; "shape": anything else
    this.remedy = remedy;
  }
}

const product = (sizes) => sizes.reduce((a, b) => a * b, 1);
const same = (a, b) => a.length === b.length && a.every((size, place) => size === b[place]);
const unique = (values) => [...new Set(values)];
const count = (n) => n.toLocaleString("en-US");
const tuple = (sizes) => `(${sizes.join(", ")}${sizes.length === 1 ? "," : ""})`;
const batched = (shape) => tuple([1, ...shape]);
const plural = (n, noun) => `${n} ${noun}${n > 1 ? "s" : ""}`;

/** A pair or four sides as short as they can be written: 3, (3, 1), (0, 1, 0, 1). */
function compact(values) {
  if (values.every((value) => value === values[0])) return String(values[0]);
  if (values.length === 4 && values[0] === values[1] && values[2] === values[3]) return tuple([values[0], values[2]]);
  return tuple(values);
}

/** A number with so many digits that count, as Python's format "g" writes it: halves go to the even digit. */
function general(value, digits) {
  const places = digits - 1 - Math.floor(Math.log10(Math.abs(value) || 1));
  const scaled = value * 10 ** places;
  const half = Number.isInteger(value * 2 ** 20) && Math.abs(scaled % 1) === 0.5;
  return String(half ? (2 * Math.round(scaled / 2)) / 10 ** places : Number(value.toPrecision(digits)));
}

/** Places that a window takes along one axis. */
function outputSize([size, window, stride, before, after, dilation], ceil = false) {
  const room = size + before + after - dilation * (window - 1) - 1;
  if (!ceil || room < 0) return Math.floor(room / stride) + 1;
  const places = Math.ceil(room / stride) + 1;
  return (places - 1) * stride >= size + before ? places - 1 : places;
}

/** The same as text: (227 + 2*0 - 11)/4 + 1 = 55. */
function outputFormula([size, window, stride, before, after, dilation]) {
  const padding = before === after ? `2*${before}` : `${before} + ${after}`;
  const span = dilation === 1 ? `${window}` : `${dilation}*(${window} - 1) - 1`;
  const value = (size + before + after - dilation * (window - 1) - 1) / stride + 1;
  const shown = Number.isInteger(value) ? value : general(value, value < 1000 ? 4 : 6);
  return `(${size} + ${padding} - ${span})/${stride} + 1 = ${shown}`;
}

const by = ([down, across]) => (down === across ? down : `${down} by ${across}`);

/** What outputSize needs to know about an axis, 0 vertical, 1 horizontal. */
const along = (w, axis, size) => [
  size,
  w.size[axis],
  w.stride[axis],
  w.padding[2 * axis],
  w.padding[2 * axis + 1],
  w.dilation[axis],
];

function leftOver([size, window, stride, before, after, dilation]) {
  const rest = (size + before + after - dilation * (window - 1) - 1) % stride;
  return rest < 0 ? rest + stride : rest;
}

function windowFormula(w, shape) {
  return by(
    [0, 1].map((axis) => {
      const sizes = along(w, axis, shape[1 + axis]);
      const text = outputFormula(sizes),
        places = outputSize(sizes, w.ceil);
      if (!leftOver(sizes)) return text;
      if (places > outputSize(sizes)) return `${text}, ceil: ${places}`;
      return `${text}, floor: ${places}${w.ceil ? " (no window may start in the padding)" : ""}`;
    }),
  );
}

/** What became of the division's remainder. */
function windowRounding(w, shape) {
  const said = new Map();
  for (const axis of [0, 1]) {
    const sizes = along(w, axis, shape[1 + axis]),
      left = leftOver(sizes),
      after = sizes[4];
    if (!left) continue;
    let [what, pixels] =
      left > after ? ["not seen at the end: {}", left - after] : ["not seen: {} of the padding", left];
    if (outputSize(sizes, w.ceil) > outputSize(sizes)) {
      [what, pixels] = ["the last window hangs over by {}", w.stride[axis] - left];
    }
    said.set(what, [...(said.get(what) || []), plural(pixels, ["row", "column"][axis])]);
  }
  return [...said].map(([what, amounts]) => what.replace("{}", amounts.join(" and "))).join("; ");
}

/** The size of the map behind a window. Throws where it does not fit. */
function moved(op, w, [, H, W]) {
  const sizes = [along(w, 0, H), along(w, 1, W)];
  const places = sizes.map((axis) => outputSize(axis, w.ceil));
  if (Math.min(...places) < 1) {
    const axis = places[0] < 1 ? 0 : 1;
    const span = [0, 1].map((a) => w.dilation[a] * (w.size[a] - 1) + 1);
    const [size, , stride, before, after] = sizes[axis];
    const needed = [0, 1].map((a) => Math.max(span[a] - w.padding[2 * a] - w.padding[2 * a + 1], 1));
    throw new Misfit(
      "window",
      `${op}: a ${w.size.join("x")} window does not fit a ${H}x${W} map: ` +
        `${outputFormula([size, span[axis], stride, before, after, 1])}; the map needs to be at least ` +
        `${needed.join("x")}: give a larger input, a smaller window or more padding`,
    );
  }
  return places;
}

/** Start and end of the windows of an adaptive pool. */
const bins = (size, places) =>
  Array.from({ length: places }, (_, place) => [
    Math.floor((place * size) / places),
    Math.ceil(((place + 1) * size) / places),
  ]);

// Receptive fields: of each axis the size, the jump between neighbours and the centre of the first, in input pixels.

function through({ size, jump, start }, window, stride = 1, before = 0, dilation = 1) {
  const reach = dilation * (window - 1);
  return { size: size + Math.ceil(reach * jump), jump: jump * stride, start: start + (reach / 2 - before) * jump };
}

function joined(a, b) {
  const first = Math.min(a.start - a.size / 2, b.start - b.size / 2);
  const last = Math.max(a.start + a.size / 2, b.start + b.size / 2);
  return { size: Math.ceil(last - first), jump: Math.max(a.jump, b.jump), start: (first + last) / 2 };
}

/** What the outputs of a layer see, when its inputs see `sources`: {field: [vertical, horizontal], extent: [H, W]}. */
function seen(row, sources) {
  let { field, extent } = sources[0];
  for (const other of sources.slice(1)) {
    if (JSON.stringify(other.field) !== JSON.stringify(field))
      field = field.map((axis, place) => joined(axis, other.field[place]));
  }
  const [x] = row.inputs,
    y = row.output;
  if (y.length === 3 && x.length === 3) {
    const w = row.window;
    if (w) field = field.map((axis, p) => through(axis, w.size[p], w.stride[p], w.padding[2 * p], w.dilation[p]));
    else if (row.args.output_size) field = field.map((axis, p) => throughBins(axis, x[1 + p], y[1 + p]));
    return { field, extent: y.slice(1) };
  }
  if (y.length === 1 && (row.kind === "Linear" || product(x) !== product(y))) {
    field = field.map((axis, place) => through(axis, extent[place])); // each number sees the whole map
    extent = [1, 1];
  }
  return { field, extent };
}

/** Behind windows that differ in size: the largest one, and the average jump. */
function throughBins(axis, size, places) {
  const windows = bins(size, places),
    longest = Math.max(...windows.map(([start, end]) => end - start));
  return {
    size: through(axis, longest).size,
    jump: axis.jump * (size / places),
    start: through(axis, windows[0][1]).start,
  };
}
