// What is stored and what models have cost: in a month, by day, and how much of one's limits that is.

import { ask, query } from "./api.js";
import { fill, make } from "./elements.js";
import { tell } from "./messages.js";
import { count, date, figure, money, month, size } from "./words.js";

export async function show(main, { month: chosen }) {
  const heading = make("h1", {}, "Usage");
  const sheet = make("div.sheet", {}, heading, make("p.quiet", {}, "Loading…"));
  fill(main, sheet);
  try {
    const [usage, { limits }] = await Promise.all([ask("GET", query("/usage", { month: chosen })), ask("GET", "/me")]);
    fill(sheet, heading, stored(usage.storage, limits), spent(usage, chosen ? {} : limits, Boolean(chosen)));
  } catch (error) {
    fill(sheet, heading, make("p", {}, error.title));
    tell(error);
  }
}

function stored({ items, bytes }, limits) {
  const numbers = [number("Pictures", items, figure, limits.items), number("Originals", bytes, size, limits.storage_bytes)];
  return make("section", {}, make("h2", {}, "Stored now"), make("dl.numbers", {}, numbers));
}

function spent(usage, limits, past) {
  const { cost_usd: cost, calls, input_tokens: read, output_tokens: written } = usage.totals;
  const step = (months, label) => {
    const other = new Date(usage.from);
    other.setUTCMonth(other.getUTCMonth() + months);
    return make("a.button.plain", { href: `#/usage?month=${other.toISOString().slice(0, 7)}` }, label);
  };
  const numbers = [
    number("Cost", Number(cost), money, limits.model_usd_per_month),
    number("Calls", calls, figure),
    number("Tokens read", read, figure),
    number("Tokens written", written, figure),
  ];
  return make(
    "section",
    {},
    make("div.row", {}, make("h2", {}, `Models in ${month(usage.from)}`), step(-1, "Month before"), past && step(1, "Month after")),
    make("dl.numbers", {}, numbers),
    days(usage.by_day),
    usage.by_model.length ? make("div.panel", {}, make("table", {}, usage.by_model.map(model))) : null,
  );
}

function number(label, value, say, limit = null) {
  const told = [make("strong", {}, say(value))];
  if (limit !== null) {
    const name = `${label}: share of the limit`;
    told.push(make("progress", { max: limit || 1, value: Math.min(value, limit || 1), "aria-label": name }), make("small", {}, `of ${say(limit)}`));
  }
  return make("div.panel", {}, make("dt", {}, label), make("dd", {}, told));
}

/** A bar for each day: what models cost, or where nothing costs anything how many pictures came. */
function days(each) {
  const costly = each.some(({ cost_usd: cost }) => Number(cost));
  const values = each.map(({ cost_usd: cost, added }) => (costly ? Number(cost) : added.items));
  const said = (value) => (costly ? money(value) : count(value, "picture"));
  const most = Math.max(...values);
  if (!most) return make("p.quiet", {}, "Nothing happened in this month.");
  const bars = each.map(({ day }, place) => {
    const bar = make("li", { title: `${date(day)}: ${said(values[place])}` });
    bar.style.setProperty("--share", `${(100 * values[place]) / most}%`);
    return bar;
  });
  const label = `${costly ? "Cost" : "Pictures added"} by day; the most on ${date(each[values.indexOf(most)].day)}: ${said(most)}`;
  return make("div.panel", {}, make("ul.days", { role: "img", "aria-label": label }, bars), make("p.quiet", {}, label));
}

function model({ provider, model: name, calls, cost_usd: cost }) {
  const figures = [count(calls, "call"), money(Number(cost))].map((text) => make("td.figure", {}, text));
  return make("tr", {}, make("th", { scope: "row" }, `${name} (${provider})`), figures);
}
