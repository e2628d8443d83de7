/** How every figure is drawn: it fits its column, and has no tools and no way out of the page. */
const STILL = { responsive: true, displayModeBar: false, doubleClick: false, plotlyServerURL: "" };

/** A figure with the colours of the reader's theme in the place of `var(--name)`. */
function inTheme(part, isColour = false) {
  if (Array.isArray(part)) return part.map((one) => inTheme(one, isColour));
  if (part && typeof part === "object") {
    return Object.fromEntries(
      Object.entries(part).map(([key, value]) => [key, inTheme(value, /color/i.test(key))]),
    );
  }
  const name = isColour && /^var\((--[a-z0-9-]+)\)$/.exec(part);
  return name ? getComputedStyle(document.documentElement).getPropertyValue(name[1]).trim() : part;
}
