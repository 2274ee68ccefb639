// The start: who is signed in, which page the address names, and the keys that work everywhere.

import * as account from "./account.js";
import { query } from "./api.js";
import * as duplicates from "./duplicates.js";
import { find } from "./elements.js";
import * as gallery from "./gallery.js";
import * as item from "./item.js";
import { tell } from "./messages.js";
import { begin, signIn } from "./sign-in.js";
import * as uploads from "./uploads.js";
import * as usage from "./usage.js";

const PAGES = { "": gallery, duplicates, usage, account };
let shown = null; // the address of the page, whatever is open above it

/** Show what the address names: a page, or a picture above the page that was there. */
function go() {
  const [path, parameters] = location.hash.replace(/^#?\/?/, "").split("?");
  const [name, id] = path.split("/");
  if (name === "items" && id) {
    if (shown === null) open("", {});
    return item.open(id, shown);
  }
  item.close();
  open(PAGES[name] ? name : "", Object.fromEntries(new URLSearchParams(parameters)));
}

function open(name, parameters) {
  const address = query(`#/${name}`, parameters);
  if (address !== shown) document.querySelectorAll(".problem").forEach((problem) => problem.remove()); // another page's
  shown = address;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === (name || "pictures")) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = name ? `${find(`nav [data-page=${name}]`).textContent} · Magpie` : "Magpie";
  if (name) find("#search").elements.q.value = "";
  PAGES[name].show(find("#main"), parameters);
}

function keys(event) {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || find("dialog[open]")) return;
  if (event.target.matches("input, textarea, select")) return;
  event.preventDefault();
  find("#search").elements.q.select();
}

function search(event) {
  event.preventDefault();
  const q = find("#search").elements.q.value.trim();
  const { category } = Object.fromEntries(new URLSearchParams(shown.split("?")[1]));
  if (q || shown.includes("q=")) location.hash = query("#/", { q, category: q && category });
}

/** Offer to sign in; somebody who was signed in until now learns why. */
function welcome() {
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  find("#app").hidden = true;
  find("#welcome").hidden = false;
  find("#sign-in").focus();
}

async function start() {
  find("#sign-in").addEventListener("click", () => signIn().catch(tell));
  document.addEventListener("signed-out", welcome);
  let signedIn = false;
  try {
    signedIn = await begin();
  } catch (error) {
    tell(error);
  }
  if (!signedIn) return welcome();
  find("#app").hidden = false;
  find("#search").addEventListener("submit", search);
  find("#search").elements.q.addEventListener("search", (event) => event.target.value || search(event)); // emptied by its cross
  find("#skip").addEventListener("click", () => find("#main").focus());
  addEventListener("keydown", keys);
  addEventListener("hashchange", go);
  uploads.begin();
  go();
}

addEventListener("unhandledrejection", (event) => {
  event.preventDefault();
  tell(event.reason);
});
start();
