"use strict";
// The panel about one layer: its formulas with its numbers, what it sees of the input, and its arguments to change.

/** The formulas in letters, above those with the numbers put in. */
const LETTERS = {
  Conv2d: { size: "(H + 2*padding - R)/stride + 1 = P", parameters: "(R*S*C + 1)*K", macs: "P*Q*K * R*S*C" },
  TableConv2d: { size: "H - R + 1 = P", parameters: "R*S*connections + K", macs: "P*Q * R*S*connections" },
  MaxPool2d: { size: "(H + 2*padding - R)/stride + 1 = P" },
  AvgPool2d: { size: "(H + 2*padding - R)/stride + 1 = P" },
  Subsample2d: { size: "(H - R)/R + 1 = P", parameters: "(coefficient + bias)*C" },
  Linear: { parameters: "(in + 1)*out", macs: "out * in" },
  BatchNorm2d: { parameters: "(scale + shift)*C" },
};
const DOES = {
  Conv2d:
    "Each output number is a weighted sum of what lies under the window, in all channels of its group, and a bias.",
  TableConv2d: "A convolution whose filters see only the channels that a table lists.",
  MaxPool2d: "The largest number under each window, channel by channel.",
  AvgPool2d: "The mean of the numbers under each window, channel by channel.",
  AdaptiveAvgPool2d: "The means of windows that cover the map evenly.",
  GlobalAvgPool2d: "The mean of each whole map.",
  Subsample2d: "The sum under each window, times a learned coefficient, and a learned bias.",
  Linear: "Each output is a weighted sum of all inputs, and a bias.",
  RadialBasis: "Minus the squared distance to each of the fixed codes.",
  BatchNorm2d: "Each channel to mean 0 and variance 1, then scaled and shifted by learned numbers.",
  LocalResponseNorm: "Each number divided by a power of the sum of squares over neighbouring channels.",
  Add: "The sum of its inputs, number by number: their shapes must be equal.",
  Cat: "Its inputs one behind the other along the channels: their maps must have one size.",
  ReLU: "max(x, 0). It is computed in place and costs no memory of its own.",
  Tanh: "The hyperbolic tangent.",
  ScaledTanh: "1.7159 * tanh(2x/3).",
  Dropout: "In training it drops numbers at random; in use it does nothing.",
  Flatten: "All maps as one row of numbers.",
  Identity: "The input itself.",
  PadShortcut: "Every so many pixels, and channels of zeros: a shortcut without parameters.",
};
const EDITABLE = [
  "in_channels",
  "out_channels",
  "in_features",
  "out_features",
  "num_features",
  "channels",
  "size",
  "kernel_size",
  "stride",
  "padding",
  "dilation",
  "output_size",
  "groups",
  "bias",
  "ceil_mode",
];
const FIXED = {
  TableConv2d: ["in_channels", "out_channels"],
  GlobalAvgPool2d: ["output_size"],
  RadialBasis: ["in_features", "out_features"],
};
const MOST = 65536;

const bytesText = (bytes) =>
  bytes < 1e4
    ? `${count(bytes)} bytes`
    : bytes < 1e6
      ? `${(bytes / 1e3).toFixed(1)} kB`
      : `${(bytes / 1e6).toFixed(2)} MB`;

/** What a person typed as the value of an argument, or null: 3, or 3, 1 for a pair, or four sides. */
function parsed(text, length) {
  const numbers = text
    .split(/[\s,x×()]+/)
    .filter(Boolean)
    .map(Number);
  if (!numbers.length || numbers.some((n) => !Number.isInteger(n) || n < 0 || n > MOST)) return null;
  if (!length) return numbers.length === 1 ? numbers[0] : null;
  if (numbers.length === length) return numbers;
  if (numbers.length === 1) return Array(length).fill(numbers[0]);
  return length === 4 && numbers.length === 2 ? [numbers[0], numbers[0], numbers[1], numbers[1]] : null;
}

const written = (value) => (Array.isArray(value) ? compact(value).replace(/[()]/g, "") : String(value));

/** A number, pair or four sides with a minus and a plus. */
function stepper(key, label, value, set) {
  const length = Array.isArray(value) ? value.length : 0;
  const step = (by) => {
    const next = length ? value.map((n) => Math.max(n + by, 0)) : Math.max(value + by, 0);
    set(next);
  };
  const input = h("input", {
    type: "text",
    inputmode: length ? "text" : "numeric",
    value: written(value),
    "aria-label": label,
    "data-key": key,
    oninput: () => {
      const next = parsed(input.value, length);
      if (next !== null) set(next);
    },
    onkeydown: (event) => {
      const by = { ArrowUp: 1, ArrowDown: -1 }[event.key];
      if (by) {
        event.preventDefault();
        step(by);
      }
    },
  });
  const button = (sign, by) =>
    h(
      "button",
      { type: "button", "data-key": `${key}${sign}`, "aria-label": `${label} ${sign}1`, onclick: () => step(by) },
      sign,
    );
  return h("span", { class: `stepper ${length ? "wide" : ""}` }, button("−", -1), input, button("+", 1));
}

/** view: what page.js knows about the network, and the layer chosen. */
function details(view) {
  const { network, result, base, selected } = view;
  const layer = network.layers[selected],
    row = result.rows[selected],
    was = base.rows[selected];
  const failed = result.failure?.layer === selected,
    args = { ...layer.args, ...result.edits[selected] };
  const members = boxAround(network.parts, selected) || [selected];
  const claims = view.spoken.get(selected) || [];
  const section = (title, ...content) => (content.flat().some(Boolean) ? [h("h3", {}, title), ...content] : []);
  const formula = (text, before) =>
    text && h("p", { class: `formula ${before !== undefined && before !== text ? "changed" : ""}` }, text);
  const letters = LETTERS[layer.kind] || {};
  const general = (name) => letters[name] && h("p", { class: "formula dim" }, letters[name]);
  return [
    h("button", { class: "close", "aria-label": "close", onclick: view.close }, "×"),
    h("h2", {}, layer.path),
    h("p", { class: "dim" }, `${layer.kind}${view.two ? ` of ${network.title}` : ""}. ${DOES[layer.kind] || ""}`),
    members.length > 1
      ? h(
          "div",
          { class: "parts", role: "group", "aria-label": "layers drawn as this box" },
          members.map((member) =>
            h(
              "button",
              {
                "aria-pressed": String(member === selected),
                "data-key": `member:${member}`,
                onclick: () => view.select(member),
              },
              `${network.layers[member].path.split(".").at(-1)} (${network.layers[member].kind})`,
            ),
          ),
        )
      : "",
    failed ? failure(view) : "",
    !row && !failed
      ? h(
          "p",
          { class: "failure" },
          `Not reached: ${network.layers[result.failure.layer].path} before it does not fit.`,
        )
      : "",
    view.trial && section("what it makes of the picture", view.trial.maps(selected)),
    row
      ? [
          section(
            "output, height × width × channels",
            h(
              "p",
              { class: `number ${same(row.output, was.output) ? "" : "changed"}` },
              `${row.inputs.map(shapeText).join(" and ")} → ${shapeText(row.output)}`,
            ),
            row.sizeFormula && row.window ? general("size") : "",
            formula(row.sizeFormula, was.sizeFormula),
            row.sizeNote && h("p", { class: "dim" }, row.sizeNote),
          ),
          section(
            "parameters",
            row.parameters ? general("parameters") : "",
            formula(row.parameterFormula || "0", was.parameterFormula || "0"),
          ),
          section(
            "multiply-adds",
            row.macs ? general("macs") : "",
            formula(row.macsFormula || "0", was.macsFormula || "0"),
            row.gemm &&
              h(
                "p",
                { class: "dim" },
                `as a product of matrices: ${row.gemm[3] > 1 ? `${row.gemm[3]} times ` : ""}` +
                  `(${count(row.gemm[0])} × ${count(row.gemm[2])}) (${count(row.gemm[2])} × ${count(row.gemm[1])})`,
              ),
          ),
          section(
            "memory of the output, float32",
            formula(
              row.bytes ? `4*${row.output.join("*")} = ${count(row.bytes)} bytes` : "0: in place",
              was.bytes ? `4*${was.output.join("*")} = ${count(was.bytes)} bytes` : "0: in place",
            ),
            row.parameters && h("p", { class: "dim" }, `and of its parameters ${bytesText(4 * row.parameters)}`),
          ),
          section("receptive field", ...fieldPicture(view, row)),
        ]
      : "",
    section("what it was made with", editors(view, layer, args)),
    claims.length ? [h("h3", {}, "what the slides say of it"), claims.map((claim) => claimElement(claim, null))] : "",
  ];
}

function editors(view, layer, args) {
  const names = EDITABLE.filter((name) => name in args && !(FIXED[layer.kind] || []).includes(name));
  const others = Object.entries(args).filter(
    ([name, value]) =>
      !names.includes(name) && !(FIXED[layer.kind] || []).includes(name) && value !== null && name !== "affine",
  );
  if (!names.length && !others.length) return h("p", { class: "dim" }, "nothing");
  return h(
    "div",
    { class: "arguments" },
    names.map((name) => {
      const value = args[name],
        edited = view.result.edits[view.selected]?.[name] !== undefined,
        key = `argument:${name}`;
      const set = (next) => view.edit(view.selected, name, next);
      return [
        h("span", { class: edited ? "edited" : "" }, name),
        typeof value === "boolean"
          ? h(
              "span",
              {},
              h("input", {
                type: "checkbox",
                checked: value,
                "aria-label": name,
                "data-key": key,
                onchange: (event) => set(event.target.checked),
              }),
            )
          : stepper(key, name, value, set),
      ];
    }),
    others.map(([name, value]) => [h("span", { class: "dim" }, name), h("span", { class: "dim" }, written(value))]),
  );
}

/** Why a layer does not fit, and what can be done. */
function failure(view) {
  const { failure: found } = view.result,
    layer = view.network.layers[found.layer];
  const made =
    found.remedy &&
    Object.entries(found.remedy)
      .map(([name, value]) => `${name}=${value}`)
      .join(", ");
  const more = advice(view.network, view.input, view.edits, found, view.follow);
  return h(
    "div",
    { class: "failure", role: "alert" },
    h("b", {}, `${layer.path} (${layer.kind}) does not fit`),
    h("p", {}, found.message),
    more && h("p", {}, more),
    found.layer !== view.selected &&
      h("button", { "data-key": `${view.side}:show`, onclick: () => view.select(found.layer) }, "Show the layer"),
    made &&
      h(
        "button",
        { "data-key": `${view.side}:adapt`, onclick: () => view.setFollow(true) },
        `Make it with ${made}, and so on behind it`,
      ),
    h("button", { "data-key": `${view.side}:undo`, onclick: view.reset }, "Undo all changes"),
  );
}

/** Input and output side by side: one output number on the right, what it sees of the input on the left. */
function fieldPicture(view, row) {
  const [down, across] = row.field,
    [, H, W] = view.input,
    most = 150;
  const text = h(
    "p",
    { class: "number" },
    `${down.size}×${across.size} pixels of the input, ` +
      `${down.jump}${down.jump === across.jump ? "" : ` by ${across.jump}`} apart; ` +
      `the first is centred at ${down.start}` +
      `${across.start === down.start ? "" : ` by ${across.start}`}, where 0.5 is the middle of the first pixel`,
  );
  if (row.output.length !== 3) return [text];
  const [, P, Q] = row.output;
  const scale = most / Math.max(H, W),
    own = 110 / Math.max(P, Q);
  const place =
    view.unit && view.unit[0] < P && view.unit[1] < Q ? view.unit : [Math.floor((P - 1) / 2), Math.floor((Q - 1) / 2)];
  const field = h("rect", { fill: "var(--accent)", "fill-opacity": ".35", stroke: "var(--accent)" });
  const unit = h("rect", { fill: "var(--accent)", width: Math.max(own, 3), height: Math.max(own, 3) });
  const caption = h("figcaption"),
    where = h("figcaption");
  const move = (p, q) => {
    [place[0], place[1]] = [Math.min(Math.max(p, 0), P - 1), Math.min(Math.max(q, 0), Q - 1)];
    view.setUnit([...place]);
    const [top, left] = [down, across].map((axis, a) => axis.start + axis.jump * place[a] - axis.size / 2);
    const clip = (start, size, end) => [
      Math.max(start, 0),
      Math.max(Math.min(start + size, end) - Math.max(start, 0), 0),
    ];
    const [y, height] = clip(top, down.size, H),
      [x, width] = clip(left, across.size, W);
    for (const [name, value] of Object.entries({ x, y, width, height })) field.setAttribute(name, value * scale);
    unit.setAttribute("x", place[1] * own);
    unit.setAttribute("y", place[0] * own);
    const beyond = top < 0 || left < 0 || top + down.size > H || left + across.size > W;
    const last = Math.ceil(y + height) - 1;
    caption.textContent = `input: rows ${Math.floor(y)} to ${last}${beyond ? ", and padding" : ""}`;
    where.textContent = `output: row ${place[0]}, column ${place[1]}`;
  };
  const output = h(
    "svg",
    {
      width: Q * own,
      height: P * own,
      tabindex: 0,
      role: "application",
      "data-key": "unit",
      "aria-label": "one output number: move it with the arrows",
      onpointerdown: (event) => point(event),
      onpointermove: (event) => {
        if (event.buttons || event.pointerType === "mouse") point(event);
      },
      onkeydown: (event) => {
        const by = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
        if (by) {
          event.preventDefault();
          event.stopPropagation();
          move(place[0] + by[0], place[1] + by[1]);
        }
      },
    },
    unit,
  );
  const point = (event) => {
    const frame = output.getBoundingClientRect();
    move(Math.floor((event.clientY - frame.top) / own), Math.floor((event.clientX - frame.left) / own));
  };
  const input = h("svg", { class: "still", width: W * scale, height: H * scale, "aria-hidden": "true" }, field);
  move(...place);
  return [text, h("div", { class: "maps" }, h("figure", {}, input, caption), h("figure", {}, output, where))];
}

/** A statement of the slides beside what the code computes. jump: a function that shows a layer, or null. */
function claimElement(claim, jump) {
  return h(
    "div",
    { class: "claim" },
    h("span", { class: `verdict ${claim.verdict}` }, claim.verdict),
    ` deck ${claim.deck}: ${claim.statement}`,
    h(
      "div",
      { class: "number" },
      claim.slide && `slide: ${claim.slide}`,
      claim.computed && `${claim.slide ? " · " : ""}computed: ${claim.computed}`,
    ),
    claim.reason && h("div", { class: "dim" }, claim.reason),
    jump ? jump.map(([path, show]) => h("button", { onclick: show }, path)) : "",
  );
}
