"use strict";
// A network run on numbers: the twin of what minicnn's layers compute in use, for the kinds that the trained network
// has. tests/test_explorer_forward.py compares the two. Maps are Float32Arrays, channel by channel, row by row.

/** The bytes of a text in base64. */
const bytesOf = (text) => Uint8Array.from(atob(text), (sign) => sign.charCodeAt(0));

/** The numbers of a text in base64 that holds float16. */
const halves = (text) =>
  Float32Array.from(new Uint16Array(bytesOf(text).buffer), (bits) => {
    const exponent = (bits >> 10) & 31,
      fraction = (bits & 1023) / 1024;
    const size = exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14;
    return bits >> 15 ? -size : size;
  });

/** Pixels 0 .. 255, channel by channel, as the network was trained to take them. */
function normalized(pixels, { mean, std }) {
  const each = pixels.length / mean.length;
  return Float32Array.from(pixels, (value, place) => {
    const channel = Math.floor(place / each);
    return (value / 255 - mean[channel]) / std[channel];
  });
}

/** The numbers of a layer's output, from its row (see `compute`), the numbers of its inputs and its weights by name. */
const RUNS = {
  Conv2d({ args: a, inputs: [[C, H, W]], output: [K, P, Q] }, [x], { weight, bias }) {
    const y = new Float32Array(K * P * Q),
      [R, S] = a.kernel_size,
      deep = C / a.groups;
    for (let k = 0, tap = 0; k < K; k++) {
      if (bias) y.fill(bias[k], k * P * Q, (k + 1) * P * Q);
      const first = Math.floor((k * a.groups) / K) * deep;
      for (let c = first; c < first + deep; c++) {
        for (let r = 0; r < R; r++) {
          for (let s = 0; s < S; s++, tap++) {
            const w = weight[tap],
              left = s * a.dilation[1] - a.padding[2];
            // the columns whose pixel is not padding
            const from = Math.max(0, Math.ceil(-left / a.stride[1])),
              to = Math.min(Q, Math.floor((W - 1 - left) / a.stride[1]) + 1);
            for (let p = 0; p < P; p++) {
              const row = p * a.stride[0] + r * a.dilation[0] - a.padding[0];
              if (row < 0 || row >= H) continue;
              const source = (c * H + row) * W + left,
                target = (k * P + p) * Q;
              for (let q = from; q < to; q++) y[target + q] += w * x[source + q * a.stride[1]];
            }
          }
        }
      }
    }
    return y;
  },
  BatchNorm2d({ args: a, inputs: [[, H, W]] }, [x], { running_mean, running_var, scale, shift }) {
    const times = running_var.map((variance, c) => scale[c] / Math.sqrt(variance + a.eps));
    const plus = running_mean.map((mean, c) => shift[c] - mean * times[c]);
    return x.map((value, place) => {
      const c = Math.floor(place / (H * W));
      return value * times[c] + plus[c];
    });
  },
  ReLU: (row, [x]) => x.map((value) => Math.max(value, 0)),
  Add: (row, inputs) => inputs[0].map((_, place) => inputs.reduce((sum, x) => sum + x[place], 0)),
  PadShortcut({ args: a, inputs: [[C, H, W]], output: [K, P, Q] }, [x]) {
    const y = new Float32Array(K * P * Q); // channels of zeros behind those there are
    for (let c = 0, place = 0; c < C; c++) {
      for (let p = 0; p < P; p++) {
        for (let q = 0; q < Q; q++, place++) y[place] = x[(c * H + p * a.stride) * W + q * a.stride];
      }
    }
    return y;
  },
  GlobalAvgPool2d: ({ inputs: [[C, H, W]] }, [x]) =>
    Float32Array.from({ length: C }, (_, c) => mean(x.subarray(c * H * W, (c + 1) * H * W))),
  Flatten: (row, [x]) => x,
  Linear: ({ args: a }, [x], { weight, bias }) =>
    Float32Array.from({ length: a.out_features }, (_, k) =>
      x.reduce((sum, value, c) => sum + weight[k * a.in_features + c] * value, bias ? bias[k] : 0),
    ),
};

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * Run a network on a picture: the numbers that each layer puts out, one after another.
 * rows: of `compute`; weights: {path of a layer: {name: Float32Array}}; picture: as `normalized` gives it.
 */
function* forward(network, rows, weights, picture) {
  const outputs = [];
  for (const row of rows) {
    const inputs = network.layers[row.layer].sources.map((source) => (source < 0 ? picture : outputs[source]));
    outputs.push(RUNS[row.kind](row, inputs, weights[row.path] || {}));
    yield outputs.at(-1);
  }
}

/** The weights of the page's data, by layer: {path: {name: Float32Array}}. */
function weightsOf(trained) {
  const weights = {};
  for (const [path, text] of Object.entries(trained.weights)) {
    const end = path.lastIndexOf(".");
    (weights[path.slice(0, end)] ??= {})[path.slice(end + 1)] = halves(text);
  }
  return weights;
}

/** Scores as probabilities. */
function softmax(scores) {
  const powers = Array.from(scores, (score) => Math.exp(score - Math.max(...scores)));
  return powers.map((power) => power / powers.reduce((sum, other) => sum + other, 0));
}

/**
 * Where the score of a class comes from, for a network that ends in the mean of each map and a linear layer: the maps
 * that are averaged, each times its weight. Its mean, plus the bias, is the score. Zhou et al. 2016, arXiv:1512.04150.
 */
function classActivation(network, rows, weights, outputs, label) {
  const pool = rows.findLast((row) => row.kind === "GlobalAvgPool2d"),
    last = rows.findLast((row) => row.kind === "Linear");
  const [C, P, Q] = pool.inputs[0],
    maps = outputs[network.layers[pool.layer].sources[0]],
    { weight } = weights[last.path];
  return Float32Array.from({ length: P * Q }, (_, place) => {
    let sum = 0;
    for (let c = 0; c < C; c++) sum += weight[label * C + c] * maps[c * P * Q + place];
    return sum;
  });
}
