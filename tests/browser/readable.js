// What is hard to read or to use on the page as it is now, in a list of sentences.
(width) => {
  const wrong = [];
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const read = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((part) => ((part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = read(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return read("Canvas");
  };
  const seen = (element) => element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) && element.getClientRects().length;
  const scope = document.querySelector("dialog[open]") ?? document.body;
  let texts = 0;

  const walker = document.createTreeWalker(scope, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || element.closest("[hidden], :disabled, script, noscript, option")) continue;
    texts += 1;
    const [one, other] = [luminance(read(getComputedStyle(element).color)), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (one + 0.05) / (other + 0.05);
    if (ratio < 4.5) wrong.push(`contrast ${ratio.toFixed(2)} of "${node.data.trim().slice(0, 40)}"`);
  }
  if (texts < 5) wrong.push("there is next to nothing to read");

  for (const control of scope.querySelectorAll("a, button, input:not([type=file]), select, textarea, progress, [role=img], dialog")) {
    if (!seen(control)) continue;
    const label = control.getAttribute("aria-label") ?? document.getElementById(control.getAttribute("aria-labelledby"))?.textContent;
    const name = label ?? (control.labels?.[0]?.textContent || control.textContent);
    if (!name.trim()) wrong.push(`no name: ${control.outerHTML.slice(0, 80)}`);
    if (control.matches("button, select, nav a")) {
      const { width: across, height } = control.getBoundingClientRect();
      if (across < 24 || height < 24) wrong.push(`small to hit: ${name}`); // WCAG 2.5.8
    }
  }
  for (const picture of scope.querySelectorAll("img:not([alt])")) wrong.push(`no alternative: ${picture.src.split("?")[0]}`);
  for (const element of scope.querySelectorAll("*")) {
    if (seen(element) && element.getBoundingClientRect().right > width + 1) wrong.push(`beyond the screen: ${element.outerHTML.slice(0, 80)}`);
  }
  for (const moving of document.getAnimations()) wrong.push(`moves although it should not: ${moving.animationName}`);
  return wrong;
};
