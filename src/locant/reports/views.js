(() => {
  const figures = JSON.parse(document.getElementById("figure-data").textContent);

  /** Draw what is to be seen; a hidden figure has no width to fit. */
  function draw() {
    for (const [name, figure] of Object.entries(figures)) {
      const place = document.getElementById(name);
      if (place.closest("[hidden]")) continue;
      const { data, layout } = inTheme(figure);
      layout.dragmode = false;
      Plotly.react(place, data, layout, STILL);
    }
  }

  /** Show one view wherever there is one, and leave the pressed button where it is. */
  function choose(button) {
    const view = button.dataset.choose;
    const section = button.closest("section");
    const before = button.getBoundingClientRect().top;
    for (const one of document.querySelectorAll("section")) {
      const parts = [...one.querySelectorAll("[data-view]")];
      if (!parts.some((part) => part.dataset.view === view)) continue;
      for (const part of parts) part.hidden = part.dataset.view !== view;
    }
    draw();
    const pressed = section.querySelector(`[data-view="${view}"] button[data-choose="${view}"]`);
    window.scrollBy(0, pressed.getBoundingClientRect().top - before);
    pressed.focus({ preventScroll: true });
  }

  draw();
  for (const button of document.querySelectorAll("button[data-choose]")) {
    button.addEventListener("click", () => choose(button));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
