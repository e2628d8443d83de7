(() => {
  const figures = JSON.parse(document.getElementById("figure-data").textContent);
  const grid = JSON.parse(document.getElementById("grid-data").textContent);
  const scores = unpack(grid);
  const largest = 32767 * grid.step;
  const map = document.getElementById("map");
  const LEAST = Math.min(12, grid.neurons);
  const PIXELS = 3;
  let view = [0, grid.neurons];

  const plain = new Intl.NumberFormat("en-US");
  const shown = (value) => {
    if (value === 0) return "0";
    const text = Math.abs(value) < 1e-4 ? value.toExponential(2) : value.toPrecision(3);
    return (value > 0 ? "+" : "") + text.replaceAll("-", "\u2212");
  };

  function draw() {
    for (const [name, figure] of Object.entries(figures)) {
      const { data, layout } = inTheme(figure);
      // A finger that moves over the map scrolls the page; the buttons zoom
      layout.dragmode = name === "map" && !matchMedia("(pointer: coarse)").matches ? "zoom" : false;
      if (name === "map") {
        layout.xaxis.range = [view[0] - 0.5, view[1] - 0.5];
        Object.assign(data[0], cells());
      }
      Plotly.react(name, data, layout, STILL);
    }
    tell();
  }

  /** The map's cells in view, as Plotly wants them. */
  function cells() {
    const width = Math.max(200, map.clientWidth - 54);
    const edges = edgesOf(view[0], view[1], Math.floor(width / PIXELS));
    const rows = strongest(scores, grid, edges);
    const value = (layer, neuron) => scores[layer * grid.neurons + neuron];
    const z = rows.map((row, layer) =>
      row.map((neuron) => {
        if (neuron < 0) return null;
        const score = value(layer, neuron);
        return largest ? Math.sign(score) * Math.sqrt(Math.abs(score) / largest) : 0;
      }),
    );
    const hovertext = rows.map((row, layer) =>
      row.map((neuron, column) => {
        const [first, last] = [edges[column], edges[column + 1] - 1];
        if (neuron < 0) return `layer ${layer}, neuron ${plain.format(first)}<br>no score`;
        const among = first < last ? `<br>farthest from zero of ${plain.format(first)}–${plain.format(last)}` : "";
        return `layer ${layer}, neuron ${plain.format(neuron)}<br>score ${shown(value(layer, neuron))}${among}`;
      }),
    );
    const wide = width / (edges.length - 1) > 7;
    return { x: edges.map((edge) => edge - 0.5), y: [...rows.keys()], z, hovertext, xgap: wide ? 1 : 0 };
  }

  function tell() {
    const all = view[1] - view[0] === grid.neurons;
    const text = `neurons ${plain.format(view[0])}–${plain.format(view[1] - 1)}`;
    document.getElementById("span").textContent = all ? `all ${plain.format(grid.neurons)} neurons` : text;
  }

  /** The nearest view that the grid allows, in whole neurons. */
  function allowed(from, to) {
    const span = Math.max(LEAST, Math.min(grid.neurons, Math.round(to - from)));
    const start = Math.max(0, Math.min(grid.neurons - span, Math.round((from + to - span) / 2)));
    return [start, start + span];
  }

  function look(from, to) {
    view = allowed(from, to);
    return Plotly.relayout(map, { "xaxis.range": [view[0] - 0.5, view[1] - 0.5] });
  }

  const moves = {
    in: (from, to) => [from + (to - from) / 4, to - (to - from) / 4],
    out: (from, to) => [from - (to - from) / 2, to + (to - from) / 2],
    left: (from, to) => [from - (to - from) / 2, to - (to - from) / 2],
    right: (from, to) => [from + (to - from) / 2, to + (to - from) / 2],
    all: () => [0, grid.neurons],
  };

  /** `#L3.N1204` leads to that neuron. */
  function follow(hash) {
    const place = /^#L\d+\.N(\d+)$/.exec(hash);
    if (!place) return;
    const neuron = Number(place[1]);
    look(neuron - 24, neuron + 25);
    document.getElementById("map-section").scrollIntoView({ block: "start" });
  }

  draw();
  map.on("plotly_relayout", () => {
    const [from, to] = map.layout.xaxis.range.map((edge) => edge + 0.5);
    const snapped = allowed(from, to);
    if (snapped[0] !== from || snapped[1] !== to) {
      look(from, to);
      return;
    }
    view = snapped;
    const { x, y, z, hovertext, xgap } = cells();
    Plotly.restyle(map, { x: [x], y: [y], z: [z], hovertext: [hovertext], xgap }, [0]);
    tell();
  });
  map.on("plotly_doubleclick", () => look(0, grid.neurons));
  for (const button of document.querySelectorAll("button[data-zoom]")) {
    button.addEventListener("click", () => look(...moves[button.dataset.zoom](...view)));
  }
  document.addEventListener("click", (event) => {
    const link = event.target.closest('a[href^="#L"]');
    if (link) follow(link.getAttribute("href"));
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  follow(location.hash);
})();
