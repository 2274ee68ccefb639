// Elements are made here and nowhere else. What comes from data only ever becomes text or an attribute
// of a known meaning: there is no way to hand in HTML, and the policy of the page forbids it too.

/**
 * Make an element.
 * @param {string} kind a tag, with classes behind points: "button.quiet"
 * @param {Object} given properties; a function under "onclick" listens, undefined and null are left out
 * @param {...(Node|string|number|null|undefined|Array)} children
 */
export function make(kind, given = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(given)) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value);
    else if (name === "href" || name === "src") element.setAttribute(name, address(value));
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An address that is shown or followed: of this page, a local preview, or HTTP. Never javascript: or data:. */
function address(value) {
  const scheme = new URL(value, location.href).protocol;
  return ["http:", "https:", "blob:"].includes(scheme) ? value : "#/";
}

/** One of the drawings in index.html. */
export function icon(name) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  drawing.setAttribute("aria-hidden", "true");
  drawing.setAttribute("class", "icon");
  use.setAttribute("href", `#icon-${name}`);
  drawing.append(use);
  return drawing;
}

export const find = (selector, within = document) => within.querySelector(selector);

/** Put other children in place of those that are there. */
export const fill = (element, ...children) => {
  element.replaceChildren(...children.flat(9).filter(Boolean));
  return element;
};
