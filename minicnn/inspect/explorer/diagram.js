"use strict";
// The diagram: the parts of a network as elements of the page. Each layer is a button; it flows from top to bottom.

/** An element: h("p", {class: "dim", onclick}, "text", [more children]). */
function h(tag, attributes = {}, ...children) {
  const svg = ["svg", "rect", "path", "circle", "line", "title"].includes(tag);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== "" && child != null && child !== false));
  return element;
}

const WORDS = {
  conv: "convolution",
  pool: "pooling",
  linear: "fully connected",
  join: "sum, concatenation",
  norm: "normalisation",
  activation: "activation",
  dropout: "dropout",
  other: "other",
};
const COLOUR = {
  Conv2d: "conv",
  TableConv2d: "conv",
  MaxPool2d: "pool",
  AvgPool2d: "pool",
  AdaptiveAvgPool2d: "pool",
  GlobalAvgPool2d: "pool",
  Subsample2d: "pool",
  Linear: "linear",
  RadialBasis: "linear",
  Add: "join",
  Cat: "join",
  BatchNorm2d: "norm",
  LocalResponseNorm: "norm",
  ReLU: "activation",
  Tanh: "activation",
  ScaledTanh: "activation",
  Dropout: "dropout",
  PadShortcut: "other",
};
/** Kinds that have no colour of their own on the box beside them. */
const UNSEEN = new Set(["Flatten", "Identity"]);
const MOVING = { Conv2d: "conv", TableConv2d: "conv", MaxPool2d: "max", AvgPool2d: "avg", Subsample2d: "subsample" };

const colourOf = (kind) => COLOUR[kind] || "other";
/** 55×55×96, as the lectures write it. */
const shapeText = (shape) => (shape.length === 3 ? [shape[1], shape[2], shape[0]] : shape).join("×");

/** conv 11×11 /4, max 3×3 /2, linear */
function windowText(kind, args) {
  if (kind === "Linear") return "linear";
  if (kind === "GlobalAvgPool2d") return "global average";
  if (kind === "AdaptiveAvgPool2d") return `average to ${args.output_size.join("×")}`;
  if (!MOVING[kind]) return { Add: "sum", Cat: "concatenation", PadShortcut: `shortcut /${args.stride}` }[kind] || kind;
  const stride = args.stride || (kind === "Subsample2d" ? args.kernel_size : [1, 1]),
    groups = args.groups || 1;
  const word = groups > 1 && groups === args.in_channels ? "depthwise" : MOVING[kind];
  return (
    `${word} ${args.kernel_size.join("×")}${stride.every((s) => s === 1) ? "" : ` /${compact(stride)}`}` +
    (groups > 1 && word === "conv" ? `, ${groups} groups` : "")
  );
}

/** As much of a path as tells the layer apart in what is around it. */
const shortName = (path, around) => (around && path.startsWith(`${around}.`) ? path.slice(around.length + 1) : path);

/** A plate: as wide as the map's side, as thick as there are channels, both on a square-root scale. */
function plate(shape, scale, kind, strips, room) {
  const flat = shape.length < 3,
    side = flat ? 1 : Math.max(...shape.slice(1));
  const width = flat
    ? Math.min(Math.max(scale.unit * Math.sqrt(shape[0]), 6), 92)
    : Math.max(scale.side * Math.sqrt(side), 5);
  const thick = flat ? 6 : Math.max(scale.channel * Math.sqrt(shape[0]), 2.5),
    deep = flat ? 3 : width * 0.22;
  const w = width * room,
    t = Math.max(thick * room, 2.5),
    d = deep * room,
    strip = 3.5;
  const fills = data.fills,
    height = d + t + strips.length * strip + 2;
  const svg = h("svg", { width: w + d + 2, height, viewBox: `0 0 ${w + d + 2} ${height}`, "aria-hidden": "true" });
  const side3d = (y, size) => `M${w} ${y}l${d} ${-d}v${size}l${-d} ${d}z`;
  const face = (y, size, fill, edge = ".7") =>
    svg.append(
      h("rect", { x: 0, y, width: w, height: size, fill, stroke: "#30363d", "stroke-width": edge }),
      h("path", { d: side3d(y, size), fill, stroke: "#30363d", "stroke-width": edge }),
      h("path", { d: side3d(y, size), fill: "rgba(0,0,0,.2)" }),
    );
  face(d, t, fills[kind]);
  svg.append(
    h("path", { d: `M0 ${d}l${d} ${-d}h${w}l${-d} ${d}z`, fill: fills[kind], stroke: "#30363d", "stroke-width": ".7" }),
    h("path", { d: `M0 ${d}l${d} ${-d}h${w}l${-d} ${d}z`, fill: "var(--top)" }),
  );
  strips.forEach((name, place) => face(d + t + place * strip, strip, fills[name], ".4"));
  return svg;
}

/** Draws one network. view: {network, input, result, base, edits, opened, selected, spoken, select, toggle}. */
class Diagram {
  constructor(view) {
    Object.assign(this, view);
    const shapes = [view.network.input, ...view.base.rows.map((row) => row.output)];
    const maps = shapes.filter((shape) => shape.length === 3),
      vectors = shapes.filter((shape) => shape.length === 1);
    const most = (values) => Math.max(1, ...values);
    this.scale = {
      side: Math.min(104 / Math.sqrt(most(maps.flatMap((shape) => shape.slice(1)))), 16),
      channel: Math.min(30 / Math.sqrt(most(maps.map((shape) => shape[0]))), 2),
      unit: Math.min(92 / Math.sqrt(most(vectors.map((shape) => shape[0]))), 6),
    };
    this.most = {
      parameters: most(view.base.rows.map((row) => row.parameters)),
      bytes: most(view.base.rows.map((row) => row.bytes)),
    };
    this.kinds = new Set();
  }

  draw() {
    const top = this.network.input,
      fill = "input";
    const start = h(
      "div",
      { class: "box" },
      h("b", {}, "input"),
      plate(this.input, this.scale, fill, [], 1),
      h("small", { class: `number ${same(top, this.input) ? "" : "changed"}` }, shapeText(this.input)),
    );
    const chain = this.chain(this.network.parts, "", 0);
    chain.prepend(start, h("div", { class: "wire" }));
    return h("div", { class: "diagram" }, chain);
  }

  legend() {
    return h(
      "div",
      { class: "legend" },
      Object.entries(WORDS)
        .filter(([kind]) => this.kinds.has(kind))
        .map(([kind, word]) => h("span", {}, h("i", { style: `background:${data.fills[kind]}` }), word)),
      h("span", {}, h("i", { class: "bar count" }), "bar: parameters"),
      h("span", {}, h("i", { class: "bar memory" }), "bar: memory of the output"),
      h(
        "span",
        {},
        "A plate is as wide as its map and as thick as its channels are many; both grow with the square root.",
      ),
    );
  }

  chain(parts, around, depth) {
    const chain = h("div", { class: "chain" });
    for (const part of parts) {
      if (chain.children.length) chain.append(h("div", { class: "wire" }));
      chain.append(this.part(part, around, depth));
    }
    return chain;
  }

  part(part, around, depth) {
    if (Array.isArray(part)) return this.chain(part, around, depth);
    if (typeof part === "number" || "op" in part) return this.box(part, around, depth);
    if (part.fork) return this.fork(part, around, depth);
    if (part.block) return this.block(part, around, depth);
    if (part.repeat) return this.repeated(part.repeat, around, depth, "repeat");
    if (part.dense) return this.repeated(part.dense, around, depth, "dense");
    return h(
      "div",
      { class: "heads" },
      part.heads.map((chain) =>
        h(
          "div",
          { class: "frame" },
          h("div", { class: "caption" }, "an auxiliary classifier leaves here"),
          this.chain(chain, around, depth + 1),
        ),
      ),
    );
  }

  box(part, around, depth) {
    const { op, before = [], after = [] } = typeof part === "number" ? { op: part } : part;
    const members = [...before, op, ...after],
      layer = this.network.layers[op],
      row = this.result.rows[op],
      was = this.base.rows[op];
    const failed = this.result.failure && members.includes(this.result.failure.layer),
      later = !failed && !row;
    const kind = colourOf(layer.kind),
      shape = (row || was).output;
    const strips = members
      .filter((member) => member !== op)
      .map((member) => this.network.layers[member].kind)
      .filter((name) => !UNSEEN.has(name))
      .map(colourOf);
    [kind, ...strips].forEach((name) => this.kinds.add(name));
    const args = { ...layer.args, ...this.result.edits[op] },
      window = windowText(layer.kind, args),
      name = shortName(layer.path, around);
    const edited = members.some((member) => this.result.edits[member]),
      said = members.reduce((sum, m) => sum + (this.spoken.get(m)?.length || 0), 0);
    const join = layer.kind === "Add" || layer.kind === "Cat",
      changed = row && !same(row.output, was.output);
    const parameters = members.reduce((sum, member) => sum + (this.result.rows[member]?.parameters || 0), 0);
    const picture = join
      ? h("span", { class: `sign ${layer.kind === "Cat" ? "cat" : ""}` }, layer.kind === "Add" ? "+" : "")
      : plate(shape, this.scale, kind, strips, depth ? 0.62 : 1);
    const share = (value, most) => `width:${Math.min((100 * value) / most, 100)}%`;
    return h(
      "button",
      {
        class: `box ${join ? "join" : ""} ${failed ? "fail" : ""} ${later ? "later" : ""}`,
        "data-layer": op,
        "data-key": `${this.side}:${op}`,
        "aria-pressed": String(members.includes(this.selected)),
        onclick: () => this.select(failed ? this.result.failure.layer : op),
      },
      h(
        "span",
        {},
        h("b", {}, depth ? "" : name),
        h("small", { class: "window" }, window),
        edited || said
          ? h("small", { class: "marks" }, edited ? "● edited " : "", said ? `▤ slides: ${said}` : "")
          : "",
      ),
      picture,
      h(
        "span",
        {},
        failed
          ? h("small", { class: "why" }, "does not fit")
          : later
            ? h("small", {}, "not reached")
            : [
                h("small", { class: `number shape ${changed ? "changed" : ""}` }, shapeText(shape)),
                parameters ? h("small", { class: "number" }, count(parameters)) : "",
              ],
        row && !depth && !join
          ? h(
              "span",
              { class: "bars", title: "parameters and memory, as shares of the largest" },
              h("span", { class: "bar count", style: share(parameters, this.most.parameters) }),
              h("span", { class: "bar memory", style: share(row.bytes, this.most.bytes) }),
            )
          : "",
      ),
    );
  }

  fork({ fork, join }, around, depth) {
    const branches = h(
      "div",
      { class: "fork" },
      fork.map((branch) =>
        h(
          "div",
          { class: `branch ${branch.length ? "" : "wireonly"}` },
          h("div", { class: "wire" }),
          branch.length ? this.chain(branch, around, depth + 1) : "",
          h("div", { class: "wire long" }),
        ),
      ),
    );
    return h(
      "div",
      { class: "chain" },
      branches,
      h("div", { class: "wire" }),
      join === null ? "" : this.box(join, around, depth),
    );
  }

  frame(caption, inside, button) {
    return h("div", { class: "frame" }, h("div", { class: "caption" }, h("b", {}, caption), button || ""), inside);
  }

  block({ block, inner }, around, depth) {
    return this.frame(shortName(block, around), this.chain(inner, block, depth));
  }

  /** Equal parts in a row, or the steps of a dense block: a few of them until more are asked for, or one matters. */
  repeated(parts, around, depth, what) {
    const key = `${what}:${leaves(parts)[0]}`,
      few = what === "dense" ? 2 : 1;
    const wanted = [this.selected, this.result.failure?.layer, ...Object.keys(this.edits).map(Number)];
    const open =
      this.opened.has(key) ||
      leaves(parts.slice(few, what === "dense" ? -1 : undefined)).some((leaf) => wanted.includes(leaf));
    const hidden = parts.length - few - (what === "dense" ? 1 : 0);
    if (hidden < 1) return this.chain(parts, around, depth);
    const shown = open ? parts : what === "dense" ? [...parts.slice(0, few), null, parts.at(-1)] : parts.slice(0, few);
    const button = h(
      "button",
      { "data-key": `${this.side}:${key}`, "aria-expanded": String(open), onclick: () => this.toggle(key) },
      open ? "fold" : `show all ${parts.length}`,
    );
    const [{ block, inner }] = parts;
    if (what === "repeat" && block && !open) {
      return this.frame(`${shortName(block, around)}: ${parts.length} times`, this.chain(inner, block, depth), button);
    }
    const chain = h("div", { class: "chain" });
    for (const part of shown) {
      if (chain.children.length) chain.append(h("div", { class: "wire" }));
      chain.append(part === null ? h("span", { class: "dim" }, `⋮ ${hidden} more`) : this.part(part, around, depth));
    }
    return this.frame(
      what === "dense" ? `dense block: ${parts.length} layers` : `${parts.length} times`,
      chain,
      button,
    );
  }
}

/** The numbers of all layers in parts, the main one of each box first. */
function leaves(part) {
  if (typeof part === "number") return [part];
  if (part === null) return [];
  if (Array.isArray(part)) return part.flatMap(leaves);
  if ("op" in part) return [part.op, ...part.before, ...part.after];
  return leaves([part.fork || part.inner || part.repeat || part.dense || part.heads, part.join ?? []]);
}

/** The layers drawn as one box with this one, in the order in which they run. */
function boxAround(part, layer) {
  if (typeof part === "number") return part === layer ? [layer] : null;
  if (part === null) return null;
  if (Array.isArray(part)) return part.reduce((found, inner) => found || boxAround(inner, layer), null);
  if ("op" in part) {
    const members = [...part.before, part.op, ...part.after];
    return members.includes(layer) ? members : null;
  }
  return boxAround([part.fork || part.inner || part.repeat || part.dense || part.heads, part.join ?? []], layer);
}
