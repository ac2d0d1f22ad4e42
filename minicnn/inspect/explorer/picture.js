"use strict";
// A trained network at work: a picture that is chosen, opened or painted, the classes that it finds, and its maps.

const SIDE = 32;
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const article = (word) => `${/^[aeiou]/.test(word) ? "an" : "a"} ${word}`;

/** Three numbers 0 .. 255 of a colour such as #d55e00. */
const rgb = (colour) => [1, 3, 5].map((place) => parseInt(colour.slice(place, place + 2), 16));
/** Share -1 .. 1 as a colour: white is 0, `above` is 1, `below` is -1. */
const tinted = (share) =>
  rgb(share < 0 ? data.trained.below : data.trained.above).map((value) => 255 + (value - 255) * Math.abs(share));

/** A canvas of so many pixels, and what it is drawn on with. */
function canvas(width, height, attributes = {}) {
  const element = h("canvas", { width, height, ...attributes });
  return [element, element.getContext("2d", { willReadFrequently: true })];
}

/** Put pixels on a canvas: colour(place) gives red, green, blue and perhaps opacity, 0 .. 255. */
function colourIn(pen, width, height, colour) {
  const image = new ImageData(width, height);
  for (let place = 0; place < width * height; place++) image.data.set([...colour(place), 255].slice(0, 4), 4 * place);
  pen.putImageData(image, 0, 0);
}

/**
 * The section of a network that comes trained. `element` is made once and stays as it is when the page is drawn again.
 */
class Trial {
  constructor(network) {
    this.network = network;
    this.rows = baseOf(network).rows;
    this.weights = weightsOf(data.trained);
    this.pictures = data.trained.pictures.map(({ label, pixels }) => ({ label, pixels: bytesOf(pixels) }));
    this.asked = null; // the class whose evidence is shown, or null for the likeliest
    this.element = this.section();
    this.take(0);
  }

  section() {
    const { classes, accuracy } = data.trained;
    [this.easel, this.pen] = canvas(SIDE, SIDE, {
      tabindex: 0,
      role: "application",
      class: "easel",
      "aria-label": "the picture, to paint on: the arrows move the brush, Space paints",
      onpointerdown: (event) => {
        if (event.button) return;
        this.easel.setPointerCapture(event.pointerId);
        this.stroke(this.at(event), this.at(event));
      },
      onpointermove: (event) => {
        if (this.easel.hasPointerCapture(event.pointerId)) this.stroke(this.brush, this.at(event));
      },
      onkeydown: (event) => this.key(event),
    });
    [this.heat, this.heatPen] = canvas(8 * SIDE, 8 * SIDE, { role: "img" });
    this.point = h("span", { class: "brush" });
    this.place([SIDE / 2, SIDE / 2]);
    this.caption = h("figcaption");
    this.evidence = h("figcaption");
    this.answer = h("p", { class: "answer", role: "status" });
    this.colour = h("input", { type: "color", value: "#2c7fd1" });
    this.width = h("input", { type: "range", min: 1, max: 12, value: 4 });
    this.classes = classes.map((name, label) => ({
      bar: h("span", { class: "bar count" }),
      share: h("span", { class: "number" }),
      radio: h("input", { type: "radio", name: "class", onchange: () => this.ask(label) }),
      name,
    }));
    this.samples = this.pictures.map(({ label, pixels }, number) => {
      const [element, pen] = canvas(SIDE, SIDE);
      this.paint(pen, pixels);
      const name = `test picture ${number + 1}: ${article(classes[label])}`;
      const radio = h("input", {
        type: "radio",
        name: "sample",
        "aria-label": name,
        onchange: () => this.take(number),
      });
      return { radio, label: h("label", { title: name }, radio, element) };
    });
    const file = h("input", {
      type: "file",
      accept: "image/*",
      onchange: () => {
        if (file.files[0]) this.open(file.files[0]);
        file.value = ""; // the same file may be chosen again
      },
    });
    return h(
      "section",
      { class: "trial", "aria-label": "A picture through the network" },
      h("h3", {}, "A picture through the trained network"),
      h(
        "p",
        { class: "dim" },
        `Trained on CIFAR-10, of whose 10,000 test pictures it names ${percent(accuracy)} right. Choose a picture, ` +
          "open one of your own or paint; a click on a layer shows the maps that the layer makes of it.",
      ),
      h(
        "div",
        { class: "samples", role: "radiogroup", "aria-label": "Test pictures" },
        this.samples.map((s) => s.label),
      ),
      h(
        "div",
        { class: "tools" },
        h("label", {}, "colour ", this.colour),
        h("label", {}, "brush ", this.width),
        h("button", { onclick: () => this.fill() }, "Fill with the colour"),
        h("label", { class: "file" }, "Open a picture…", file),
      ),
      h(
        "div",
        { class: "seen" },
        h("figure", {}, h("div", {}, this.easel, this.point), this.caption),
        h("figure", {}, h("div", {}, this.heat), this.evidence),
        h(
          "div",
          { class: "classes", role: "radiogroup", "aria-label": "Classes: the chosen one's evidence is shown" },
          this.answer,
          this.classes.map(({ name, bar, share, radio }) =>
            h("label", {}, radio, h("span", {}, name), h("span", {}, bar), share),
          ),
        ),
      ),
      h(
        "p",
        { class: "dim" },
        "Test pictures: the first two of each class in CIFAR-10's test set, Krizhevsky 2009, Learning Multiple " +
          "Layers of Features from Tiny Images; they are not under minicnn's licence.",
      ),
    );
  }

  paint(pen, pixels) {
    const each = SIDE * SIDE;
    colourIn(pen, SIDE, SIDE, (place) => [0, 1, 2].map((channel) => pixels[channel * each + place]));
  }

  /** A test picture. */
  take(number) {
    const { label, pixels } = this.pictures[number];
    this.paint(this.pen, pixels);
    this.samples[number].radio.checked = true;
    this.said = `test picture: ${article(data.trained.classes[label])}`;
    this.asked = null;
    this.changed();
  }

  /** A file of the user's own: its middle, as large as it can be square. */
  async open(file) {
    let source;
    try {
      source = await createImageBitmap(file);
    } catch {
      this.caption.textContent = `${file.name} is no picture that this browser can read`;
      return;
    }
    let side = Math.min(source.width, source.height),
      left = (source.width - side) / 2,
      top = (source.height - side) / 2;
    while (side > 2 * SIDE) {
      // by halves: a browser that shrinks at one go looks at a few of the pixels only
      const [half, pen] = canvas(Math.ceil(side / 2), Math.ceil(side / 2));
      pen.drawImage(source, left, top, side, side, 0, 0, half.width, half.width);
      [source, side, left, top] = [half, half.width, 0, 0];
    }
    this.pen.fillStyle = "#fff";
    this.pen.fillRect(0, 0, SIDE, SIDE);
    this.pen.drawImage(source, left, top, side, side, 0, 0, SIDE, SIDE);
    this.own(file.name);
  }

  fill() {
    this.pen.fillStyle = this.colour.value;
    this.pen.fillRect(0, 0, SIDE, SIDE);
    this.own("your picture");
  }

  /** Where the pointer is, in pixels of the picture. */
  at(event) {
    const frame = this.easel.getBoundingClientRect();
    return [((event.clientX - frame.left) / frame.width) * SIDE, ((event.clientY - frame.top) / frame.height) * SIDE];
  }

  /** Where the brush is: the next stroke begins there, and its ring shows it. */
  place(brush) {
    this.brush = brush;
    this.point.style.left = `${(100 * brush[0]) / SIDE}%`;
    this.point.style.top = `${(100 * brush[1]) / SIDE}%`;
  }

  stroke(from, to) {
    Object.assign(this.pen, { strokeStyle: this.colour.value, lineWidth: +this.width.value, lineCap: "round" });
    this.pen.beginPath();
    this.pen.moveTo(...from);
    this.pen.lineTo(to[0] + 0.01, to[1]); // a line without length need not be drawn
    this.pen.stroke();
    this.place(to);
    this.own(this.said.replace(/(, painted on)?$/, ", painted on"));
  }

  key(event) {
    const by = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (by) this.place(this.brush.map((place, axis) => Math.min(Math.max(place + by[axis], 0), SIDE)));
    else if (event.key === " ") this.stroke(this.brush, this.brush);
    else return;
    event.preventDefault();
  }

  /** The picture is no test picture any more. */
  own(said) {
    for (const { radio } of this.samples) radio.checked = false;
    this.said = said;
    this.changed();
  }

  /** Run the network on the picture as it is; strokes that come meanwhile are seen at the next run. */
  async changed() {
    this.caption.textContent = this.said;
    this.stale = true;
    if (this.running) return;
    this.running = true;
    while (this.stale) {
      this.stale = false;
      const picture = normalized(this.pixels(), data.trained),
        outputs = [];
      let since = performance.now();
      for (const values of forward(this.network, this.rows, this.weights, picture)) {
        outputs.push(values);
        if (performance.now() - since > 12) {
          await new Promise((resume) => setTimeout(resume)); // the page goes on answering
          since = performance.now();
        }
      }
      this.outputs = outputs;
      this.show();
    }
    this.running = false;
  }

  /** Red, green and blue of the picture, one behind the other. */
  pixels() {
    const { data: colours } = this.pen.getImageData(0, 0, SIDE, SIDE),
      each = SIDE * SIDE;
    return Uint8Array.from({ length: 3 * each }, (_, place) => colours[4 * (place % each) + Math.floor(place / each)]);
  }

  ask(label) {
    this.asked = label;
    this.show();
  }

  show() {
    const shares = softmax(this.outputs.at(-1)),
      best = shares.indexOf(Math.max(...shares));
    this.answer.textContent = `${data.trained.classes[best]}, ${percent(shares[best])}`;
    this.classes.forEach(({ bar, share, radio }, label) => {
      bar.style.width = `${100 * shares[label]}%`;
      share.textContent = percent(shares[label]);
      radio.checked = label === (this.asked ?? best);
    });
    this.showEvidence(this.asked ?? best);
    if (this.layer !== undefined) this.showMaps();
  }

  showEvidence(label) {
    const values = classActivation(this.network, this.rows, this.weights, this.outputs, label),
      peak = Math.max(...values.map(Math.abs)) || 1,
      side = Math.sqrt(values.length),
      pixels = this.pixels(),
      each = SIDE * SIDE,
      name = data.trained.classes[label];
    const [grey, greyPen] = canvas(SIDE, SIDE),
      [tint, tintPen] = canvas(side, side);
    colourIn(greyPen, SIDE, SIDE, (place) => {
      // pale, so that colours show on black
      const level = 102 + (pixels[place] + pixels[each + place] + pixels[2 * each + place]) / 5;
      return [level, level, level];
    });
    colourIn(tintPen, side, side, (place) => [
      ...rgb(values[place] < 0 ? data.trained.below : data.trained.above),
      (217 * Math.abs(values[place])) / peak,
    ]);
    for (const [picture, smooth] of [
      [grey, false],
      [tint, true],
    ]) {
      this.heatPen.imageSmoothingEnabled = smooth;
      this.heatPen.drawImage(picture, 0, 0, this.heat.width, this.heat.height);
    }
    this.evidence.textContent = `orange speaks for ${article(name)}, blue against: the class activation map`;
    this.heat.setAttribute("aria-label", `class activation map of ${name}`);
  }

  /** What a layer makes of the picture, as a figure that follows the picture. */
  maps(layer) {
    this.layer = layer;
    [this.sheet, this.sheetPen] = canvas(1, 1, { role: "img" });
    this.range = h("figcaption");
    if (this.outputs) this.showMaps();
    return h("figure", { class: "sheet" }, this.sheet, this.range);
  }

  showMaps() {
    const { output, path } = this.rows[this.layer],
      [K, P, Q] = output.length === 3 ? output : [...output, 1, 1],
      values = this.outputs[this.layer];
    const columns = K > 16 ? 8 : K > 10 ? 4 : 5,
      gap = 2,
      scale = Math.max(1, Math.floor((288 / columns - gap) / Q)),
      rows = Math.ceil(K / columns);
    const peak = values.reduce((most, value) => Math.max(most, Math.abs(value)), 0),
      signed = values.some((value) => value < 0);
    this.sheet.width = columns * (Q * scale + gap) - gap;
    this.sheet.height = rows * (P * scale + gap) - gap;
    this.sheetPen.imageSmoothingEnabled = false;
    const [one, pen] = canvas(Q, P);
    for (let k = 0; k < K; k++) {
      colourIn(pen, Q, P, (place) => tinted(values[k * P * Q + place] / (peak || 1)));
      const left = (k % columns) * (Q * scale + gap),
        top = Math.floor(k / columns) * (P * scale + gap);
      this.sheetPen.drawImage(one, left, top, Q * scale, P * scale);
    }
    this.range.textContent =
      `${plural(K, P * Q > 1 ? "map" : "number")}${P * Q > 1 ? ` of ${P}×${Q}` : ""}: white is 0, ` +
      `orange ${signed ? "above, blue below, full colour" : "up to"} ${general(peak, 3)}`;
    this.sheet.setAttribute("aria-label", `what ${path} makes of the picture`);
  }
}
