"use strict";
// The page: which networks are shown, what was changed, and drawing it again.

const data = JSON.parse(document.getElementById("data").textContent);
const networks = new Map(unpacked(data).map((network) => [network.name, network]));
/** The same function of a network, worked out once for each. */
const once =
  (work, known = new Map()) =>
  (network) =>
    known.get(network) ?? known.set(network, work(network)).get(network);
/** A network as it was made. */
const baseOf = once((network) => compute(network, network.input));

/** The trained network at work, which is in the page once. */
const trialOf = once((network) => new Trial(network));

/** The claims about each layer of a network, by number; a claim about many layers is one about the whole network. */
const FEW = 8;
const spokenOf = once((network) => {
  const spoken = new Map(),
    about = data.claims.filter((claim) => claim.networks.includes(network.name));
  for (const claim of about) {
    for (const number of layersOf(claim, network)) spoken.set(number, [...(spoken.get(number) || []), claim]);
  }
  return { about, spoken };
});

function layersOf(claim, network) {
  const paths = claim.layers[network.name] || [];
  if (paths.length > FEW) return [];
  return paths
    .map((path) => {
      // of a container its last layer, which gives its output
      const inside = network.layers.map((layer) => layer.path === path || layer.path.startsWith(`${path}.`));
      return inside.lastIndexOf(true);
    })
    .filter((number) => number >= 0);
}

/**
 * sides: one or two of {name, input, edits, follow, opened}, follow: whether layers are made to take what they get.
 * selected: {side, layer}; shown: the side that a narrow page shows; unit: the output number whose field is shown.
 */
const state = { sides: [], selected: null, shown: 0, unit: null };
const side = (name) => ({ name, input: [...networks.get(name).input], edits: {}, follow: false, opened: new Set() });

function viewOf(number) {
  const one = state.sides[number],
    network = networks.get(one.name),
    result = compute(network, one.input, one.edits, one.follow);
  const trained = state.sides.findIndex(({ name }) => name === data.trained?.network) === number,
    changed = Object.keys(one.edits).length > 0 || !same(one.input, network.input);
  const change = (action) => () => {
    action();
    draw();
  };
  return {
    ...one,
    side: number,
    network,
    base: baseOf(network),
    result,
    ...spokenOf(network),
    two: state.sides.length > 1,
    trained,
    trial: trained && !changed ? trialOf(network) : null,
    selected: state.selected?.side === number ? state.selected.layer : null,
    unit: state.unit,
    setUnit: (unit) => {
      state.unit = unit;
    },
    select: (layer) => select(number, layer),
    close: change(() => {
      state.selected = null;
    }),
    toggle: (key) => {
      if (!one.opened.delete(key)) one.opened.add(key);
      draw();
    },
    edit: (layer, name, value) => {
      const edit = { ...one.edits[layer], [name]: value };
      if (JSON.stringify(value) === JSON.stringify(network.layers[layer].args[name])) delete edit[name];
      one.edits = { ...one.edits, [layer]: edit };
      if (!Object.keys(edit).length) delete one.edits[layer];
      draw();
    },
    setInput: (place, value) => {
      if (value >= 1 && value <= 4096) {
        one.input[place] = value;
        draw();
      }
    },
    setFollow: (follow) => {
      one.follow = follow;
      draw();
    },
    reset: change(() => {
      Object.assign(one, { edits: {}, follow: false, input: [...network.input] });
    }),
  };
}

function select(number, layer) {
  if (state.selected?.side !== number || state.selected.layer !== layer) state.unit = null;
  Object.assign(state, { selected: { side: number, layer }, shown: number });
  draw();
  document.querySelector(".box[aria-pressed=true]")?.scrollIntoView({ block: "nearest" });
}

function choose(number, name) {
  if (name) state.sides[number] = side(name);
  else state.sides.splice(number, 1);
  if (state.selected?.side === number) state.selected = null;
  state.shown = name ? number : 0;
  history.replaceState(null, "", `#${state.sides.map((one) => one.name).join("+")}`);
  draw();
}

function chooser() {
  const groups = new Map();
  for (const network of networks.values()) {
    const paper = network.paper.match(/^.*?\d{4}/)?.[0] || network.paper;
    groups.set(paper, [...(groups.get(paper) || []), network]);
  }
  return [0, 1].map((number) => {
    const now = state.sides[number]?.name;
    return h(
      "label",
      {},
      number ? "beside it" : "network",
      h(
        "select",
        { "data-key": `choose:${number}`, onchange: (event) => choose(number, event.target.value) },
        number ? h("option", { value: "" }, "nothing") : "",
        [...groups].map(([paper, members]) =>
          h(
            "optgroup",
            { label: paper },
            members.map((network) =>
              h(
                "option",
                { value: network.name, selected: network.name === now },
                `${network.title} (${[network.name, ...network.aliases].join(", ")})`,
              ),
            ),
          ),
        ),
      ),
    );
  });
}

const TOTALS = [
  ["parameters", (result) => result.parameters, count, "count"],
  ["multiply-adds for one image", (result) => result.macs, count, "count"],
  ["memory of the parameters", (result) => 4 * result.parameters, bytesText, "memory"],
  ["memory of the input and all outputs", (result) => result.bytes, bytesText, "memory"],
];

function totals(views) {
  const cell = ({ result, base }, value, text, colour, most) => {
    if (result.failure) return h("td", { class: "dim" }, "does not fit");
    const now = value(result),
      was = value(base);
    return h(
      "td",
      { class: now === was ? "" : "changed" },
      text(now),
      now === was ? "" : h("small", {}, `made with ${text(was)}`),
      most > now || views.length > 1
        ? h("span", { class: `bar ${colour}`, style: `width:${(100 * now) / most}%` })
        : "",
    );
  };
  const ratio = (value) => {
    const [a, b] = views.map((view) => value(view.result));
    return views.some((view) => view.result.failure)
      ? ""
      : a >= b
        ? `${general(a / b, 3)} to 1`
        : `1 to ${general(b / a, 3)}`;
  };
  return h(
    "table",
    {},
    views.length > 1 &&
      h(
        "thead",
        {},
        h(
          "tr",
          {},
          h("th"),
          views.map((view) => h("th", {}, view.network.title)),
          h("th", { class: "ratio" }, "ratio"),
        ),
      ),
    h(
      "tbody",
      {},
      TOTALS.map(([name, value, text, colour]) =>
        h(
          "tr",
          {},
          h("th", { scope: "row" }, name),
          views.map((view) =>
            cell(
              view,
              value,
              text,
              colour,
              Math.max(...views.map(({ result, base }) => Math.max(value(result), value(base)))),
            ),
          ),
          views.length > 1 && h("td", { class: "ratio dim" }, ratio(value)),
        ),
      ),
    ),
  );
}

function networkElement(view) {
  const { network, input, edits } = view,
    diagram = new Diagram(view),
    drawn = diagram.draw();
  const sizes = [
    [1, "height"],
    [2, "width"],
    [0, "channels"],
  ].map(([place, name], number) => [
    number ? "×" : "",
    stepper(`${view.side}:input:${place}`, `${name} of the input`, input[place], (value) =>
      view.setInput(place, value),
    ),
  ]);
  const changed = Object.entries(edits),
    moved = !same(input, network.input);
  const followers = Object.keys(view.result.edits).filter((layer) => !edits[layer]).length;
  return h(
    "section",
    { class: `network ${view.side === state.shown ? "shown" : ""}`, "aria-label": network.title },
    h("h2", {}, network.title),
    h("p", { class: "paper" }, network.paper),
    network.notes && h("details", {}, h("summary", {}, "Where slides, paper and released code differ"), network.notes),
    h(
      "div",
      { class: "input" },
      h("span", {}, "input"),
      sizes,
      h("span", { class: "dim" }, "height × width × channels"),
    ),
    changed.length || moved
      ? h(
          "div",
          { class: "edits" },
          "changed: ",
          moved ? h("code", {}, `input ${shapeText(input)} `) : "",
          changed.slice(0, 6).map(([layer, edit]) => [
            " ",
            h(
              "code",
              {},
              `${network.layers[layer].path}: ${Object.entries(edit)
                .map(([name, value]) => `${name}=${written(value)}`)
                .join(", ")}`,
            ),
          ]),
          changed.length > 6 ? ` and ${changed.length - 6} more ` : " ",
          h("button", { "data-key": `${view.side}:reset`, onclick: view.reset }, "Undo all"),
          h(
            "label",
            {},
            h("input", {
              type: "checkbox",
              checked: view.follow,
              "data-key": `${view.side}:follow`,
              onchange: (event) => view.setFollow(event.target.checked),
            }),
            ` Layers are made to take what they get${followers ? `: ${plural(followers, "layer")}` : ""}`,
          ),
        )
      : "",
    view.result.failure ? failure(view) : "",
    view.trial
      ? view.trial.element
      : view.trained &&
          h("p", { class: "dim" }, "It comes trained, as it was made: undo the changes to show it pictures."),
    drawn,
    diagram.legend(),
    view.about.length
      ? h(
          "details",
          {
            "data-key": `${view.side}:claims`,
            open: view.opened.has("claims"),
            ontoggle: (event) => {
              state.sides[view.side].opened[event.target.open ? "add" : "delete"]("claims");
            },
          },
          h("summary", {}, `What the slides say of it: ${plural(view.about.length, "statement")}`),
          view.about.map((claim) =>
            claimElement(
              claim,
              layersOf(claim, network).map((number) => [network.layers[number].path, () => view.select(number)]),
            ),
          ),
        )
      : "",
  );
}

/** Whether the panel lies over the page, as on a telephone. */
const narrow = matchMedia("(max-width: 800px)");

/** Draw everything again. What had the focus has it afterwards. */
function draw() {
  const active = document.activeElement,
    key = active?.dataset?.key,
    caret = active?.selectionStart,
    typed = active?.value;
  const panel = document.getElementById("details"),
    scroll = panel.scrollTop;
  for (const diagram of document.querySelectorAll(".diagram")) diagram.side.scroll = diagram.scrollLeft;
  const views = state.sides.map((_, number) => viewOf(number));
  const put = (id, ...content) =>
    document.getElementById(id).replaceChildren(...content.flat(9).filter((child) => child));
  put("chooser", chooser());
  put("totals", totals(views));
  put(
    "tabs",
    views.length > 1
      ? views.map((view) =>
          h(
            "button",
            {
              "aria-pressed": String(view.side === state.shown),
              onclick: () => {
                state.shown = view.side;
                draw();
              },
            },
            view.network.title,
          ),
        )
      : "",
  );
  put("networks", views.map(networkElement));
  const view = state.selected && views[state.selected.side];
  put(
    "details",
    view
      ? details(view)
      : narrow.matches
        ? ""
        : h(
            "p",
            { class: "dim" },
            "Click a layer: its formulas with its numbers, what it sees of the input, and its arguments, to change.",
          ),
  );
  panel.scrollTop = scroll;
  document.querySelectorAll(".diagram").forEach((diagram, number) => {
    diagram.side = state.sides[number];
    diagram.scrollLeft = diagram.side.scroll ?? (diagram.scrollWidth - diagram.clientWidth) / 2; // begins in the middle
  });
  const again = active?.isConnected ? active : key && document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (again && again !== document.activeElement) {
    again.focus({ preventScroll: true });
    if (again.type === "text" && caret != null) {
      if (parsed(typed, 4) !== null && JSON.stringify(parsed(typed, 4)) === JSON.stringify(parsed(again.value, 4)))
        again.value = typed;
      again.setSelectionRange(caret, caret);
    }
  }
}

document.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key],
    box = event.target.closest?.(".box[data-layer]");
  if (event.key === "Escape" && state.selected) {
    state.selected = null;
    draw();
  }
  if (!step || !box) return;
  event.preventDefault();
  const boxes = [...box.closest(".network").querySelectorAll(".box[data-layer]")],
    next = boxes[boxes.indexOf(box) + step];
  if (next) {
    next.focus();
    next.click();
  }
});

function start() {
  const wanted = decodeURIComponent(location.hash.slice(1)).split("+");
  const found = wanted
    .map((name) => [...networks.values()].find((one) => one.name === name || one.aliases.includes(name)))
    .filter(Boolean)
    .slice(0, 2);
  Object.assign(state, {
    sides: (found.length ? found : [networks.get("alexnet")]).map((network) => side(network.name)),
    shown: 0,
    selected: narrow.matches ? null : { side: 0, layer: 0 },
  });
  draw();
}
addEventListener("hashchange", start);
start();
if (data.trained) {
  const show = () => {
    choose(0, data.trained.network);
    if (!narrow.matches) select(0, 0);
    document.querySelector(".trial").scrollIntoView();
  };
  document.querySelector("header").append(h("button", { onclick: show }, "Show a picture to a trained network"));
}
