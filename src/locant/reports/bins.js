"use strict";

const MISSING = -32768;

/** Scores in layer-major order from 16-bit steps; NaN where a score is missing. */
function unpack(grid) {
  const bytes = Uint8Array.from(atob(grid.data), (char) => char.charCodeAt(0));
  const whole = new DataView(bytes.buffer);
  const scores = new Float64Array(grid.layers * grid.neurons);
  for (let at = 0; at < scores.length; at++) {
    const steps = whole.getInt16(2 * at, true);
    scores[at] = steps === MISSING ? NaN : steps * grid.step;
  }
  return scores;
}

/** Where `count` columns begin and end between neurons `from` and `to` (exclusive): count + 1 numbers. */
function edgesOf(from, to, count) {
  const columns = Math.max(1, Math.min(count, to - from));
  return Array.from({ length: columns + 1 }, (_, at) => from + Math.floor((at * (to - from)) / columns));
}

/** Of each layer and column, the neuron whose score is farthest from zero; the first of equals, -1 if none. */
function strongest(scores, grid, edges) {
  return Array.from({ length: grid.layers }, (_, layer) =>
    edges.slice(1).map((end, column) => {
      let best = -1;
      let size = -1;
      for (let neuron = edges[column]; neuron < end; neuron++) {
        const here = Math.abs(scores[layer * grid.neurons + neuron]);
        if (here > size) [best, size] = [neuron, here];
      }
      return best;
    }),
  );
}
