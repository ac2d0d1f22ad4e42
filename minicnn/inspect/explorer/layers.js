"use strict";
// What each kind of layer says about itself, from its arguments `a` and the shapes of its inputs.

function atLeast(kind, a, least, names) {
  for (const name of names) {
    const value = a[name],
      several = Array.isArray(value);
    const [smallest, largest] = several ? [Math.min(...value), Math.max(...value)] : [value, value];
    const shown = several ? tuple(value) : value,
      integer = several ? "" : "an integer of ";
    if (smallest < least)
      throw new Misfit("argument", `${kind}: ${name} is ${shown}: it must be ${integer}at least ${least}`);
    if (largest > LONGEST) throw new Misfit("argument", `${kind}: ${name} is ${shown}: it must be at most ${LONGEST}`);
  }
}

const perGroup = (channels, groups) =>
  groups === 1 ? `${channels}` : groups === channels ? "1" : `${channels}/${groups}`;

const stays = { output: (a, [x]) => x };
const activation = { ...stays, inPlace: true };
const unmoving = { padding: [0, 0, 0, 0], dilation: [1, 1], ceil: false };

function pooling(op, kind) {
  const window = (a) => ({
    size: a.kernel_size,
    stride: a.stride,
    padding: a.padding,
    dilation: [1, 1],
    ceil: a.ceil_mode,
  });
  return {
    check(a) {
      atLeast(kind, a, 1, ["kernel_size", "stride"]);
      atLeast(kind, a, 0, ["padding"]);
      const [R, S] = a.kernel_size,
        [top, bottom, left, right] = a.padding;
      if (Math.max(top, bottom) > Math.floor(R / 2) || Math.max(left, right) > Math.floor(S / 2)) {
        throw new Misfit(
          "argument",
          `${kind}: padding is ${tuple(a.padding)}: it may be at most half the ${R}x${S} ` +
            "window, or a window could see nothing but padding",
        );
      }
    },
    window,
    output: (a, [x]) => [x[0], ...moved(op, window(a), x)],
  };
}

const KINDS = {
  Conv2d: {
    check(a) {
      atLeast("Conv2d", a, 1, ["in_channels", "out_channels", "kernel_size", "stride", "dilation", "groups"]);
      if (a.in_channels % a.groups || a.out_channels % a.groups) {
        throw new Misfit(
          "argument",
          `Conv2d: groups is ${a.groups}: it must divide in_channels=${a.in_channels} and ` +
            `out_channels=${a.out_channels}`,
        );
      }
      atLeast("Conv2d", a, 0, ["padding"]);
    },
    window: (a) => ({ size: a.kernel_size, stride: a.stride, padding: a.padding, dilation: a.dilation, ceil: false }),
    output(a, [x]) {
      const C = x[0],
        K = a.out_channels,
        G = a.groups;
      const depthwise = G === a.in_channels && G === K;
      const follows = depthwise ? { in_channels: C, out_channels: C, groups: C } : { in_channels: C };
      const remedy = a.connections || (C % G && !depthwise) ? null : follows;
      if (C % G || K % G) {
        throw new Misfit(
          "shape",
          `conv2d: groups is ${G}: it must divide the ${C} input channels and the ${K} filters`,
          remedy,
        );
      }
      if (C !== a.in_channels) {
        throw new Misfit(
          "shape",
          `conv2d: x has ${C} channels but weight ` +
            `${tuple([K, a.in_channels / G, ...a.kernel_size])} with groups=${G} takes ${a.in_channels}: ` +
            "the channel counts must agree",
          remedy,
        );
      }
      return [K, ...moved("conv2d", this.window(a), x)];
    },
    parameters: (a) => (product(a.kernel_size) * (a.in_channels / a.groups) + a.bias) * a.out_channels,
    parameterFormula(a) {
      const filter = `${a.kernel_size.join("*")}*${perGroup(a.in_channels, a.groups)}`;
      return a.bias ? `(${filter} + 1)*${a.out_channels}` : `${filter}*${a.out_channels}`;
    },
    gemm: (a, x, [K, P, Q]) => [K / a.groups, P * Q, (a.in_channels / a.groups) * product(a.kernel_size), a.groups],
    macsFormula: (a, x, [K, P, Q]) =>
      `${P}*${Q}*${K} * ${a.kernel_size.join("*")}*${perGroup(a.in_channels, a.groups)}`,
  },
  TableConv2d: {
    check: (a) => atLeast("TableConv2d", a, 1, ["kernel_size"]),
    window: (a) => ({ size: a.kernel_size, stride: [1, 1], ...unmoving }),
    output: (a, inputs) =>
      KINDS.Conv2d.output({ ...a, stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1], groups: 1 }, inputs),
    parameters: (a) => product(a.kernel_size) * a.connections + a.out_channels,
    parameterFormula: (a) => `${a.kernel_size.join("*")}*${a.connections} + ${a.out_channels}`,
    macs: (a, x, [, P, Q]) => a.connections * product(a.kernel_size) * P * Q,
    macsFormula: (a, x, [, P, Q]) => `${P}*${Q} * ${a.kernel_size.join("*")}*${a.connections}`,
  },
  MaxPool2d: pooling("max_pool2d", "MaxPool2d"),
  AvgPool2d: pooling("avg_pool2d", "AvgPool2d"),
  Subsample2d: {
    check: (a) => atLeast("Subsample2d", a, 1, ["channels", "kernel_size"]),
    window: (a) => ({ size: a.kernel_size, stride: a.kernel_size, ...unmoving }),
    output(a, [x]) {
      if (x[0] !== a.channels) {
        throw new Misfit("shape", `x has shape ${batched(x)}: it must be (N, ${a.channels}, H, W)`, { channels: x[0] });
      }
      return [x[0], ...moved("avg_pool2d", this.window(a), x)];
    },
    parameters: (a) => 2 * a.channels,
    parameterFormula: (a) => `(1 + 1)*${a.channels}`,
  },
  AdaptiveAvgPool2d: {
    check: (a) => atLeast("AdaptiveAvgPool2d", a, 1, ["output_size"]),
    window(a, [, H, W]) {
      const [P, Q] = a.output_size;
      if (H % P || W % Q) return null; // the windows differ in size
      const size = [H / P, W / Q];
      return { size, stride: [P > 1 ? size[0] : 1, Q > 1 ? size[1] : 1], ...unmoving };
    },
    output: (a, [x]) => [x[0], ...a.output_size],
    sizeFormula(a, [x]) {
      if (this.window(a, x)) return windowFormula(this.window(a, x), x);
      return by(
        [0, 1].map((axis) => {
          const size = x[1 + axis],
            places = a.output_size[axis];
          const lengths = unique(bins(size, places).map(([start, end]) => end - start)).sort((p, q) => p - q);
          return `${places} windows of ${lengths.join(" or ")} over ${size}`;
        }),
      );
    },
  },
  Linear: {
    check: (a) => atLeast("Linear", a, 1, ["in_features", "out_features"]),
    output(a, [x]) {
      const features = x[x.length - 1];
      if (features !== a.in_features) {
        throw new Misfit(
          "shape",
          `linear: x has shape ${batched(x)} and weight ${tuple([a.out_features, a.in_features])}: ` +
            `the last size of x must be ${a.in_features}: give the layer in_features=${features}, ` +
            "or a map of another size",
          { in_features: features },
        );
      }
      return [a.out_features];
    },
    parameters: (a) => (a.in_features + a.bias) * a.out_features,
    parameterFormula: (a) =>
      a.bias ? `(${a.in_features} + 1)*${a.out_features}` : `${a.in_features}*${a.out_features}`,
    gemm: (a) => [1, a.out_features, a.in_features, 1],
    macsFormula: (a) => `${a.out_features} * ${a.in_features}`,
  },
  RadialBasis: {
    output(a, [x]) {
      if (x[0] !== a.in_features) {
        throw new Misfit("shape", `x has shape ${batched(x)}: it must be (N, ${a.in_features}), as long as the codes`);
      }
      return [a.out_features];
    },
    macs: (a) => a.in_features * a.out_features,
    macsFormula: (a) => `${a.out_features} * ${a.in_features}`,
  },
  BatchNorm2d: {
    check: (a) => atLeast("BatchNorm2d", a, 1, ["num_features"]),
    output(a, [x]) {
      if (x[0] !== a.num_features) {
        throw new Misfit(
          "shape",
          `batch_norm: ${a.affine ? "scale" : "running_mean"} has shape ${tuple([a.num_features])}: ` +
            `it must be ${tuple([x[0]])}, one for each channel of x ${batched(x)}`,
          { num_features: x[0] },
        );
      }
      return x;
    },
    parameters: (a) => (a.affine ? 2 * a.num_features : 0),
    parameterFormula: (a) => `2*${a.num_features}`,
  },
  LocalResponseNorm: {
    ...stays,
    check: (a) => atLeast("LocalResponseNorm", a, 1, ["size"]),
    sizeFormula: (a) => `sums over ${a.size} neighbouring channels: the size stays`,
  },
  Add: {
    output(a, inputs) {
      if (!inputs.every((shape) => same(shape, inputs[0]))) {
        throw new Misfit(
          "shape",
          `the inputs have shapes ${inputs.map(batched).join(", ")}: all must be equal to be added`,
        );
      }
      return inputs[0];
    },
    sizeFormula(a, inputs) {
      const times = a.coefficients ? `, times ${a.coefficients.map((c) => general(c, 6)).join(" and ")}` : "";
      return `sum of ${inputs.length} inputs of ${inputs[0].join("x")}${times}`;
    },
  },
  Cat: {
    output(a, inputs) {
      if (!inputs.every((shape) => same(shape.slice(1), inputs[0].slice(1)))) {
        throw new Misfit(
          "shape",
          `cat: shapes ${inputs.map(batched).join(", ")} along axis 1: all other sizes must agree`,
        );
      }
      return [inputs.reduce((sum, shape) => sum + shape[0], 0), ...inputs[0].slice(1)];
    },
    sizeFormula: (a, inputs, y) => `${inputs.map((shape) => shape[0]).join(" + ")} = ${count(y[0])} channels`,
  },
  PadShortcut: {
    check: (a) => atLeast("PadShortcut", a, 1, ["channels", "stride"]),
    window: (a) => (a.stride > 1 ? { size: [1, 1], stride: [a.stride, a.stride], ...unmoving } : null),
    output(a, [x]) {
      if (x[0] > a.channels) {
        throw new Misfit(
          "shape",
          `x has shape ${batched(x)}: it must be (N, C, H, W) with at most ${a.channels} channels`,
        );
      }
      return [a.channels, ...x.slice(1).map((size) => Math.ceil(size / a.stride))];
    },
    sizeFormula(a, [x]) {
      const more = `${x[0]} + ${a.channels - x[0]} of zeros = ${a.channels} channels`;
      return a.stride > 1 ? `${windowFormula(this.window(a), x)}; ${more}` : more;
    },
  },
  Flatten: {
    inPlace: true,
    output: (a, [x]) => [product(x)],
    sizeFormula: (a, [x], y) => `${x.join("*")} = ${count(y[0])}`,
  },
  ReLU: activation,
  Dropout: activation,
  Identity: activation,
  Tanh: stays,
  ScaledTanh: stays,
};
KINDS.GlobalAvgPool2d = { ...KINDS.AdaptiveAvgPool2d, check: null };
