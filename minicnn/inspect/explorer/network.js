"use strict";
// A network run on shapes, layer by layer.

/**
 * Run a network on shapes. network: {name, input, layers: [{path, kind, args, sources}]}; input: [C, H, W];
 * edits: {number of a layer: {argument: value}}. adapt: whether layers that can take what they get are made to.
 * Returns {rows, failure, edits, parameters, macs, bytes, neurons}: rows up to the layer that does not fit;
 * failure: {layer, kind, message, remedy}.
 */
function compute(network, input, edits = {}, adapt = false) {
  const result = {
    rows: [],
    failure: null,
    edits: { ...edits },
    parameters: 0,
    macs: 0,
    neurons: 0,
    bytes: 4 * product(input),
  };
  const views = [],
    start = { size: 1, jump: 1, start: 0.5 },
    origin = { field: [start, start], extent: input.slice(1) };
  let layer = 0;
  try {
    for (layer = 0; layer < network.layers.length; layer++) {
      // made first, as in Python, then run
      if (edits[layer]) KINDS[network.layers[layer].kind].check?.({ ...network.layers[layer].args, ...edits[layer] });
    }
    for (layer = 0; layer < network.layers.length; layer++) {
      const { kind, args: made, path, sources } = network.layers[layer],
        about = KINDS[kind];
      const inputs = sources.map((source) => (source < 0 ? input : result.rows[source].output));
      let args = edits[layer] ? { ...made, ...edits[layer] } : made,
        output;
      try {
        output = about.output(args, inputs);
      } catch (error) {
        if (!adapt || !error.remedy) throw error;
        result.edits[layer] = { ...edits[layer], ...error.remedy };
        args = { ...args, ...error.remedy };
        output = about.output(args, inputs);
      }
      const row = { layer, path, kind, args, inputs, output };
      row.window = inputs[0].length === 3 && about.window ? about.window(args, inputs[0]) : null;
      row.sizeFormula = about.sizeFormula
        ? about.sizeFormula(args, inputs, output)
        : row.window
          ? windowFormula(row.window, inputs[0])
          : "";
      row.sizeNote = row.window ? windowRounding(row.window, inputs[0]) : "";
      row.parameters = about.parameters ? about.parameters(args) : 0;
      row.parameterFormula = row.parameters ? `${about.parameterFormula(args)} = ${count(row.parameters)}` : "";
      row.gemm = about.gemm ? about.gemm(args, inputs[0], output) : null;
      row.macs = about.macs ? about.macs(args, inputs[0], output) : row.gemm ? product(row.gemm) : 0;
      row.macsFormula = row.macs ? `${about.macsFormula(args, inputs[0], output)} = ${count(row.macs)}` : "";
      row.neurons = row.macs ? product(output) : 0;
      row.bytes = about.inPlace ? 0 : 4 * product(output);
      views[layer] = seen(
        row,
        sources.map((source) => (source < 0 ? origin : views[source])),
      );
      row.field = views[layer].field;
      result.rows.push(row);
      for (const sum of ["parameters", "macs", "neurons", "bytes"]) result[sum] += row[sum];
    }
  } catch (error) {
    if (!(error instanceof Misfit)) throw error;
    result.failure = { layer, kind: error.kind, message: error.message, remedy: error.remedy };
  }
  return result;
}

const LARGEST = 4096;

/** Side of the smallest square input that the network takes, or null. */
function smallestInput(network, channels, edits, adapt) {
  const outcome = (size) => compute(network, [channels, size, size], edits, adapt).failure?.kind ?? "right";
  let low = 0,
    high = 1; // low is too small, high is not
  while (outcome(high) === "window") {
    [low, high] = [high, 2 * high];
    if (high > LARGEST) return null;
  }
  while (high - low > 1) {
    const middle = Math.floor((low + high) / 2);
    if (outcome(middle) === "window") low = middle;
    else high = middle;
  }
  return outcome(high) === "right" ? high : null;
}

/** What to add to a failure's message: how large the input has to be. */
function advice(network, input, edits, failure, adapt = false) {
  if (failure.kind === "argument") return "";
  const smallest = failure.kind === "window" ? smallestInput(network, input[0], edits, adapt) : null;
  if (smallest) return `the network needs an input of at least ${smallest}x${smallest}`;
  return same(input, network.input)
    ? ""
    : `${network.name} as it was created takes inputs of ${network.input.join("x")}`;
}

/** The networks of the page's data, with what they leave out put back: a layer's arguments and what it reads. */
function unpacked(data) {
  return data.networks.map((network) => ({
    ...network,
    layers: network.layers.map(([path, made, sources], place) => ({
      path,
      kind: data.made[made][0],
      args: data.made[made][1],
      sources: sources || [place - 1],
    })),
  }));
}
