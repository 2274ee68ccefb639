// Who is signed in; a copy of everything; the keys; the end of everything.

import { ask, pause } from "./api.js";
import { fill, find, make } from "./elements.js";
import { confirmed, tell } from "./messages.js";
import { email, forgetTokens, signOut } from "./sign-in.js";
import * as uploads from "./uploads.js";
import { count, date, size } from "./words.js";

const LOOK_MS = 2000;
const MAILS = { scan_complete: "When a scan or another run of mine has ended", quota: "When something does not fit into my plan any more" };
const KEYS = {
  "/": "search",
  "← → ↑ ↓": "move among pictures, or turn to the next when one is open",
  Enter: "open one",
  Esc: "close it",
};

export async function show(main) {
  const who = make("p", {}, email());
  const since = make("p.quiet");
  const mails = make("section", { hidden: true });
  const part = (title, text, ...more) => make("section", {}, make("h2", {}, title), make("p.quiet", {}, text), more);
  const line = ([key, text]) => make("tr", {}, make("th", { scope: "row" }, make("kbd", {}, key)), make("td", {}, text));
  const keys = Object.entries(KEYS).map(line);
  fill(
    main,
    make(
      "div.sheet",
      {},
      make("section", {}, make("h1", {}, "Account"), who, since, make("button", { type: "button", onclick: leave }, "Sign out")),
      mails,
      part("A copy of everything", "All that is known of your pictures, in one file: descriptions, corrections, timelines, usage.", exporting()),
      make("section.keys", {}, make("h2", {}, "Keys"), make("div.panel", {}, make("table", {}, keys))),
      part(
        "Delete everything",
        "Every picture, all that is known of them, and your account. Nobody can bring it back.",
        make("button.danger", { type: "button", onclick: erase }, "Delete everything…"),
      ),
    ),
  );
  try {
    const me = await ask("GET", "/me");
    fill(who, me.email ?? email() ?? me.user_id);
    fill(since, `Here since ${date(me.created_at)}. Plan: ${me.tier}.`);
    if (me.sends_mail && me.email) {
      fill(mails, make("h2", {}, "Mail"), make("p.quiet", {}, `To ${me.email}:`), Object.keys(MAILS).map((name) => mail(name, me.notifications[name])));
      mails.hidden = false;
    }
  } catch (error) {
    tell(error);
  }
}

/** One thing to be written to about, or not: it is so as soon as it is said. */
function mail(name, wanted) {
  const box = make("input", { type: "checkbox", name, checked: wanted });
  box.addEventListener("change", async () => {
    box.disabled = true;
    try {
      const { notifications } = await ask("PATCH", "/me", { body: { notifications: { [name]: box.checked } } });
      box.checked = notifications[name];
    } catch (error) {
      box.checked = !box.checked;
      tell(error);
    }
    box.disabled = false;
    box.focus();
  });
  return make("label.choice", {}, box, MAILS[name]);
}

function leave() {
  uploads.forget();
  signOut();
}

/** Ask for something, and look again until it is no longer running. */
async function finished(method, path, again = path) {
  let answer = await ask(method, path);
  while (answer.status === "running") {
    await pause(LOOK_MS);
    answer = await ask("GET", again);
  }
  return answer;
}

function exporting() {
  const place = make("div.row", { role: "status" });
  const start = make("button", { type: "button", onclick: () => run("/export") }, "Make a copy");
  // For an hour, asking alone would only hear once more how the last one ended.
  const retry = make("button", { type: "button", onclick: () => run("/export?fresh=true") }, "Try again");
  async function run(path) {
    fill(place, make("p", {}, "Being made…"));
    try {
      const { url, error, bytes } = await finished("GET", path, "/export");
      fill(place, url ? make("a.button", { href: url, download: "" }, `Download (${size(bytes)})`) : [make("p", {}, error), retry]);
    } catch (error) {
      fill(place, start);
      tell(error);
    }
  }
  return fill(place, start);
}

async function erase() {
  const text = "This deletes every picture of yours with all that belongs to it, and your account. It begins at once, and there is no way back.";
  if (!(await confirmed({ title: "Delete everything?", text, action: "Delete everything", typed: "delete everything" }))) return;
  uploads.forget();
  const main = find("#main");
  const said = (title, ...lines) => {
    fill(main, make("div.empty", { role: "status" }, make("h1", {}, title), lines.map((line) => make("p", {}, line))));
  };
  said("Being deleted…");
  try {
    const { receipt_id: receipt, removed } = await finished("DELETE", "/me", "/me/erasure");
    const gone = `${count(removed.rows.items ?? 0, "picture")}, ${count(removed.objects, "file")}, ${size(removed.bytes)}.`;
    said("Everything is deleted", gone, ["Receipt ", make("code", {}, receipt)]);
    forgetTokens();
  } catch (error) {
    show(main);
    tell(error);
  }
}
