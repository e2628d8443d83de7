/** Circuits that can be read closely: each is drawn whole in the page; here parts of it are hidden, lit and moved. */
(() => {
  const plain = new Intl.NumberFormat("en-US");
  const CLOSEST = 12;
  const HINT = "Press a node to see the ways through it.";

  /** Nodes that can be come to from some, themselves among them, along lines or against them. */
  function reached(starts, lines, along) {
    const [near, far] = along ? ["from", "to"] : ["to", "from"];
    const next = new Map();
    for (const { dataset } of lines) {
      if (!next.has(dataset[near])) next.set(dataset[near], []);
      next.get(dataset[near]).push(dataset[far]);
    }
    // What is added to a set while it is gone through is gone through too
    const found = new Set(starts);
    for (const node of found) {
      for (const other of next.get(node) ?? []) found.add(other);
    }
    return found;
  }

  /** The lines on some way from the input through a node to the output. */
  function linesThrough(node, lines) {
    // Where positions are told apart, there is an input of each span
    const inputs = lines.map((line) => line.dataset.from).filter((name) => name.split("@")[0] === "input");
    const [fromInput, toOutput] = [reached(inputs, lines, true), reached(["output"], lines, false)];
    const [above, below] = [reached([node], lines, true), reached([node], lines, false)];
    if (!fromInput.has(node) || !toOutput.has(node)) return [];
    return lines.filter(
      ({ dataset: { from, to } }) =>
        (below.has(to) && fromInput.has(from)) || (above.has(from) && toOutput.has(to)),
    );
  }

  function wire(root) {
    const find = (selector) => root.querySelector(selector);
    const [svg, view, tip, slider] = [find("svg"), find(".view"), find(".tip"), find("input")];
    const nodes = [...svg.querySelectorAll("[data-node]")];
    const kinds = {
      split: [...svg.querySelectorAll("path.split")],
      merged: [...svg.querySelectorAll("path.merged")],
    };
    const { width, height } = svg.viewBox.baseVal;
    const whole = { x: 0, y: 0, w: width, h: height };
    let seen = whole;
    let kind = "split";
    let chosen = null;

    const edgesOf = (lines) => new Set(lines.map((line) => line.dataset.place)).size;
    const inView = () => kinds[kind].filter((line) => Number(line.dataset.place) < slider.valueAsNumber);

    // What is shown

    function update() {
      const lines = inView();
      const there = new Set(lines);
      const lit = new Set(chosen ? linesThrough(chosen, lines) : lines);
      for (const line of [...kinds.split, ...kinds.merged]) {
        line.classList.toggle("off", !there.has(line));
        line.classList.toggle("dim", !lit.has(line));
      }
      const used = new Set([...lit].flatMap((line) => [line.dataset.from, line.dataset.to]));
      for (const node of nodes) {
        const name = node.dataset.node;
        node.classList.toggle("dim", !used.has(name) && name !== chosen);
        node.setAttribute("aria-pressed", String(name === chosen));
      }
      find(".shown").textContent = `${plain.format(edgesOf(lines))} of ${plain.format(edgesOf(kinds[kind]))} edges`;
      find(".through").textContent = chosen ? told(chosen, edgesOf([...lit])) : HINT;
      find(".through").classList.toggle("chosen", Boolean(chosen));
    }

    function told(node, count) {
      if (!count) return `no way from the input to the output leads through ${node}`;
      return `${plain.format(count)} ${count === 1 ? "edge" : "edges"} on ways through ${node}`;
    }

    function choose(name) {
      chosen = chosen === name ? null : name;
      update();
    }

    function merge(button) {
      kind = kind === "split" ? "merged" : "split";
      button.setAttribute("aria-pressed", String(kind === "merged"));
      const all = Number(slider.value) === Number(slider.max);
      slider.max = edgesOf(kinds[kind]);
      if (all) slider.value = slider.max;
      update();
    }

    // Where one looks

    function look(x, y, w) {
      const wide = Math.min(whole.w, Math.max(whole.w / CLOSEST, w));
      const tall = (wide * whole.h) / whole.w;
      seen = {
        x: Math.min(whole.w - wide, Math.max(0, x)),
        y: Math.min(whole.h - tall, Math.max(0, y)),
        w: wide,
        h: tall,
      };
      svg.setAttribute("viewBox", `${seen.x} ${seen.y} ${seen.w} ${seen.h}`);
      svg.classList.toggle("near", wide < whole.w);
      hide();
    }

    /** Zoom, and leave a point of the drawing where it is; its middle, if none is given. */
    function zoom(factor, at = { x: seen.x + seen.w / 2, y: seen.y + seen.h / 2 }) {
      const w = Math.min(whole.w, Math.max(whole.w / CLOSEST, seen.w * factor));
      const by = w / seen.w;
      look(at.x - (at.x - seen.x) * by, at.y - (at.y - seen.y) * by, w);
    }

    const move = (across, down) =>
      look(seen.x + (across * seen.w) / 8, seen.y + (down * seen.h) / 8, seen.w);

    function pointIn(event) {
      return new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    }

    const actions = {
      in: () => zoom(1 / 1.5),
      out: () => zoom(1.5),
      all: () => look(0, 0, whole.w),
      merge,
    };

    // What is said of what is pointed at

    function say(element, x, y) {
      const [first, ...rest] = element.dataset.tip.split("\n");
      const name = document.createElement("b");
      name.textContent = first;
      const others = rest.map((text) => Object.assign(document.createElement("span"), { textContent: text }));
      tip.replaceChildren(name, ...others);
      tip.hidden = false;
      const box = view.getBoundingClientRect();
      const [left, top] = [x - box.left + view.scrollLeft, y - box.top];
      const right = view.scrollLeft + view.clientWidth - tip.offsetWidth - 4;
      tip.style.left = `${Math.max(view.scrollLeft + 4, Math.min(left + 14, right))}px`;
      tip.style.top = `${top > box.height / 2 ? Math.max(4, top - tip.offsetHeight - 14) : top + 18}px`;
    }

    function hide() {
      tip.hidden = true;
    }

    function sayBeside(element) {
      const box = element.getBoundingClientRect();
      say(element, box.right - 10, (box.top + box.bottom) / 2);
    }

    /** The node, or the line not far from, where the pointer is. */
    function under(event) {
      for (const [x, y] of [[0, 0], [-3, 0], [3, 0], [0, -3], [0, 3]]) {
        const found = document.elementFromPoint(event.clientX + x, event.clientY + y)?.closest("[data-tip]");
        if (found && svg.contains(found)) return found;
      }
      return null;
    }

    function point(lines) {
      for (const line of svg.querySelectorAll(".pointed")) line.classList.remove("pointed");
      for (const line of lines) line.classList.add("pointed");
    }

    /** The lines of an edge of the table, in whichever form is shown. */
    function linesOf(place) {
      const own = kinds.split.filter((line) => line.dataset.place === place);
      if (kind === "split") return own;
      return kinds.merged.filter((line) =>
        own.some((one) => one.dataset.from === line.dataset.from && one.dataset.to === line.dataset.to),
      );
    }

    /** All lines of the edge that one line is of. */
    function sameEdge(line) {
      return kinds[kind].filter((one) => one.dataset.place === line.dataset.place);
    }

    // From node to node by the keys

    /** The node nearest to one in the next row above or below it, or beside it. */
    function neighbour(node, key) {
      const [row, x] = [Number(node.dataset.row), Number(node.dataset.x)];
      const apart = (other) => Number(other.dataset.x) - x;
      const sideways = key === "ArrowLeft" ? -1 : key === "ArrowRight" ? 1 : 0;
      if (sideways) {
        const beside = nodes.filter((one) => Number(one.dataset.row) === row && apart(one) * sideways > 0);
        return nearest(beside, (one) => Math.abs(apart(one)));
      }
      const up = key === "ArrowUp" ? 1 : -1;
      const beyond = nodes.filter((one) => (Number(one.dataset.row) - row) * up > 0);
      return nearest(beyond, (one) => Math.abs(Number(one.dataset.row) - row) * 1e5 + Math.abs(apart(one)));
    }

    function nearest(some, distance) {
      return some.reduce((best, one) => (best && distance(best) <= distance(one) ? best : one), null);
    }

    function stand(node) {
      for (const one of nodes) one.tabIndex = one === node ? 0 : -1;
    }

    function atNode(node, key) {
      if (key === "Enter" || key === " ") choose(node.dataset.node);
      else if (key.startsWith("Arrow")) {
        const next = neighbour(node, key);
        if (next) next.focus();
      } else return false;
      return true;
    }

    function atDrawing(key) {
      const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      if (!moves[key]) return false;
      // Where all is in view, the keys are the page's
      if (seen.w === whole.w) return false;
      move(...moves[key]);
      return true;
    }

    function press(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const node = event.target.closest("[data-node]");
      const everywhere = { "+": actions.in, "=": actions.in, "-": actions.out, 0: actions.all };
      if (everywhere[event.key]) everywhere[event.key]();
      else if (event.key === "Escape") {
        if (chosen) choose(chosen);
        hide();
      } else if (!(node ? atNode(node, event.key) : atDrawing(event.key))) return;
      event.preventDefault();
    }

    // With the pointer

    let drag = null;
    svg.addEventListener("pointerdown", (event) => {
      if (event.button === 0 && event.isPrimary) drag = { at: pointIn(event), id: event.pointerId, moved: false };
    });
    svg.addEventListener("pointermove", (event) => {
      if (drag && event.buttons) {
        const now = pointIn(event);
        const far = Math.hypot(now.x - drag.at.x, now.y - drag.at.y) * (svg.clientWidth / seen.w);
        if (!drag.moved && far < 4) return;
        if (!drag.moved) svg.setPointerCapture(drag.id);
        drag.moved = true;
        look(seen.x - (now.x - drag.at.x), seen.y - (now.y - drag.at.y), seen.w);
        return;
      }
      const found = under(event);
      point(found?.matches("path") ? sameEdge(found) : []);
      if (found) say(found, event.clientX, event.clientY);
      else hide();
    });

    svg.addEventListener("pointerleave", () => {
      hide();
      point([]);
    });
    svg.addEventListener("click", (event) => {
      const node = event.target.closest("[data-node]");
      if (drag?.moved) return;
      if (node) choose(node.dataset.node);
      else if (chosen && !event.target.closest("path")) choose(chosen);
    });
    svg.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !svg.contains(document.activeElement)) return;
        event.preventDefault();
        zoom(Math.exp(event.deltaY * (event.deltaMode ? 0.03 : 0.0015)), pointIn(event));
      },
      { passive: false },
    );
    svg.addEventListener("keydown", press);
    svg.addEventListener("focusin", (event) => {
      const node = event.target.closest("[data-node]");
      if (!node) return;
      stand(node);
      if (node.matches(":focus-visible")) sayBeside(node);
    });
    svg.addEventListener("focusout", hide);
    slider.addEventListener("input", update);
    for (const button of root.querySelectorAll("button[data-do]")) {
      button.addEventListener("click", () => actions[button.dataset.do](button));
    }
    for (const button of root.querySelectorAll("button[data-edge]")) {
      for (const [on, off] of [["pointerenter", "pointerleave"], ["focus", "blur"]]) {
        button.addEventListener(on, () => point(linesOf(button.dataset.edge)));
        button.addEventListener(off, () => point([]));
      }
    }

    find(".tools").hidden = false;
    slider.value = root.dataset.shown;
    stand(nodes[0]);
    update();
  }

  for (const root of document.querySelectorAll(".circuit")) wire(root);
})();
