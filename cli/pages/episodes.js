"use strict";
// Everything shown goes into the page as text (textContent), never as markup: answers are an agent's own words.

const data = JSON.parse(document.getElementById("data").textContent);
const PAGE = 50;
const form = document.getElementById("filters");
const detail = document.getElementById("episode");
let listed = [];
let total = 0;
let first = 0;
let chosen = null;
let request = 0;

// ---------------------------------------------------------------- where episodes come from

const served = {
  async ask(path, words) {
    const answer = await fetch("/api/" + path + "?" + new URLSearchParams(words));
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error);
    return value;
  },
  run() { return this.ask("run", {}); },
  list(query, from) { return this.ask("episodes", { ...query, first: from, count: PAGE }); },
  episode(part, number) { return this.ask("episode", { part, number }); },
  prompt(part, number, turn) { return this.ask("prompt", { part, number, turn }); },
  images(episode, turn, images) {
    const words = { part: episode.part, number: episode.number, turn };
    return Array.from({ length: images }, (_, place) => "/api/image?" + new URLSearchParams({ ...words, place }));
  },
};

const exported = {
  async run() { return { parts: [], envs: [] }; },
  async list() { return { total: data.total, listed: data.listed }; },
  async episode(part, number) {
    return data.episodes.find((one) => one.part === part && one.number === number);
  },
  prompt: null,
  images(episode, turn, images) { return images; },
};

const source = data.episodes ? exported : served;

// ---------------------------------------------------------------- elements

function element(name, { kind = "", text = "", title = "" } = {}, ...children) {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  if (text !== "") made.textContent = text;
  if (title) made.title = title;
  made.append(...children);
  return made;
}

const chip = (text, kind = "", title = "") => element("span", { kind: "chip " + kind, text, title });
const digits = (value, places = 3) => value === null || value === undefined ? "–" : String(Number(value.toFixed(places)));
const sum = (values) => values.reduce((a, b) => a + b, 0);

function outcome(item) {
  if (item.success) return chip("success", "good");
  return item.truncated ? chip("cut off", "warn", "a limit ended it") : chip("failure", "bad");
}

function titled(title, ...children) {
  return [element("h3", { text: title }), ...children];
}

function more(summary, text) {
  return element("details", {}, element("summary", { text: summary }), element("pre", { kind: "long", text }));
}

// ---------------------------------------------------------------- the list

function query() {
  const words = {};
  for (const name of ["outcome", "answers", "env", "part", "text", "sort"]) words[name] = form.elements[name].value;
  if (form.elements.descending.checked) words.descending = "true";
  return words;
}

async function showList(from = 0) {
  const mine = ++request;
  const found = await source.list(query(), from);
  if (mine !== request) return; // a later question was asked meanwhile
  ({ total, listed } = found);
  first = from;
  document.getElementById("list").replaceChildren(...listed.map(row));
  const last = first + listed.length;
  document.getElementById("count").textContent = source === exported
    ? `${listed.length} of ${total} episodes`
    : `${total} episode${total === 1 ? "" : "s"}`;
  document.getElementById("page").textContent = total ? `${first + 1}–${last}` : "none";
  document.getElementById("previous").disabled = first === 0;
  document.getElementById("next").disabled = last >= total;
  mark();
}

function row(item) {
  const made = element("tr", { title: `${item.part}, ${item.env}, seed ${item.seed}` },
    element("td", { text: String(item.episode) }, element("small", { text: item.part.split("/").pop() })),
    element("td", {}, outcome(item)),
    element("td", { kind: "number", text: digits(item.total) }),
    element("td", { kind: "number", text: String(item.turns) }),
    element("td", { kind: "number", text: item.invalid ? String(item.invalid) : "" }));
  made.tabIndex = 0;
  made.dataset.key = item.part + "#" + item.number;
  made.addEventListener("click", () => go(item));
  made.addEventListener("keydown", (event) => { if (event.key === "Enter") go(item); });
  return made;
}

function mark() {
  for (const made of document.getElementById("list").children) {
    const here = chosen !== null && made.dataset.key === chosen.part + "#" + chosen.number;
    made.classList.toggle("chosen", here);
    if (here) made.scrollIntoView({ block: "nearest" });
  }
}

function go(item) {
  location.hash = new URLSearchParams({ part: item.part, number: item.number });
}

async function step(by) {
  const at = listed.findIndex((one) => chosen && one.part === chosen.part && one.number === chosen.number) + by;
  if (at >= 0 && at < listed.length) return go(listed[at]);
  const from = first + (at < 0 ? -PAGE : PAGE);
  if (source === exported || from < 0 || from >= total) return undefined;
  await showList(from);
  return go(listed[by > 0 ? 0 : listed.length - 1]);
}

// ---------------------------------------------------------------- one episode

async function showEpisode() {
  const words = new URLSearchParams(location.hash.slice(1));
  if (!words.has("part")) return;
  chosen = { part: words.get("part"), number: Number(words.get("number")) };
  mark();
  const asked = chosen;
  const episode = await source.episode(asked.part, asked.number);
  if (asked !== chosen) return;
  if (!episode) throw new Error(`no episode ${asked.number} in ${asked.part} here`);
  detail.replaceChildren(...heading(episode), ...episode.turns.map((turn, number) => card(episode, turn, number)), end(episode));
  detail.scrollTop = 0;
}

function heading(episode) {
  const chips = element("div", { kind: "chips" }, outcome(episode), chip("return " + digits(episode.total)),
    chip(episode.turns.length + (episode.turns.length === 1 ? " turn" : " turns")));
  if (episode.invalid) chips.append(chip(episode.invalid + " invalid", "bad"));
  const legend = element("p", { kind: "legend" });
  if (episode.turns.some((turn) => turn.log_probs.some((value) => value !== null))) {
    legend.append("probability of a token when it was sampled: ");
    for (const share of [1, 0.75, 0.5, 0.25, 0.05]) legend.append(shaded(String(share), Math.log(share)), " ");
  }
  return [
    element("h2", { text: "Episode " + episode.episode }),
    element("p", { kind: "about", text: `${episode.env}, seed ${episode.seed}, ${episode.part}, episode ${episode.number} of the file` }),
    chips,
    legend,
    ...(Object.keys(episode.reset_info).length ? [more("info of the reset", JSON.stringify(episode.reset_info, null, 1))] : []),
  ];
}

function card(episode, turn, number) {
  const chips = element("header", {}, element("b", { text: "Turn " + (number + 1) }),
    turn.valid ? chip("valid", "good") : chip("invalid", "bad", "the answer is no action"),
    chip("reward " + digits(turn.reward), turn.reward > 0 ? "good" : turn.reward < 0 ? "bad" : ""));
  if (turn.values && turn.values.length) {
    const what = turn.values.length === 1 ? "what the critic expected before this turn" : "before the first token; hold a token for its own";
    chips.append(chip("value " + digits(turn.values[0]), "", what));
  }
  const known = turn.log_probs.filter((value) => value !== null);
  if (known.length) chips.append(chip("log-prob " + digits(sum(known), 2), "", `sum over ${known.length} tokens`));
  if (turn.terminated) chips.append(chip("terminated", "", "the environment's own end"));
  if (turn.truncated) chips.append(chip("truncated", "warn", "a limit's end"));
  return element("article", {}, chips,
    element("div", { kind: "sides" },
      element("section", {}, ...shown(episode, turn, number), ...sampledAfter(episode, number)),
      element("section", {}, ...answered(turn))));
}

function shown(episode, turn, number) {
  const images = source.images(episode, number, turn.images);
  const made = [];
  if (images.length) made.push(...titled("picture" + (images.length > 1 ? "s" : ""), pictures(images, points(turn))));
  const before = number > 0 && episode.turns[number - 1].text === turn.text;
  const prompt = before ? [more("prompt, as in the turn before", turn.text)]
    : titled("prompt", element("pre", { kind: "long", text: turn.text }));
  return [...made, ...prompt];
}

function pictures(addresses, points = []) {
  return element("div", { kind: "images" }, ...addresses.map((address, place) => {
    const made = element("img");
    made.src = address;
    made.alt = "picture " + (place + 1);
    made.loading = "lazy";
    return element("div", { kind: "picture" }, made, ...points.map(keypoint));
  }));
}

// Of an action with keypoints: their names and places, as fractions of width and height.
const points = (turn) => Object.entries(turn.action?.affordance ?? {}).filter(([, at]) => Array.isArray(at));

function keypoint([name, [x, y]]) {
  const made = element("span", { kind: "mark", title: name.replaceAll("_", " ") });
  made.style.left = `${100 * x}%`;
  made.style.top = `${100 * y}%`;
  made.style.backgroundColor = data.colours[name] ?? "grey";
  return made;
}

function sampledAfter(episode, number) {
  if (!source.prompt) return [];
  const text = element("pre", { kind: "long", text: "…" });
  const made = element("details", {}, element("summary", { text: "the whole prompt, as tokens" }), text);
  made.addEventListener("toggle", async () => {
    if (!made.open || text.dataset.known) return;
    text.dataset.known = "true";
    const found = await source.prompt(episode.part, episode.number, number);
    text.textContent = found.text ?? `${found.tokens} tokens; their tokenizer is not on this machine`;
  }, { once: false });
  return [made];
}

function answered(turn) {
  const fields = parsed(turn.response);
  const thoughts = fields && (fields.thoughts ?? fields.thought);
  const made = titled("answer", tokens(turn));
  if (thoughts !== undefined && thoughts !== null) {
    made.push(...titled("thoughts", element("div", { text: typeof thoughts === "string" ? thoughts : JSON.stringify(thoughts) })));
  }
  const action = turn.action === null ? chip("none", "bad") : element("pre", { text: typeof turn.action === "string" ? turn.action : JSON.stringify(turn.action) });
  made.push(...titled("action", action));
  if (Object.keys(turn.info).length) made.push(more("info", JSON.stringify(turn.info, null, 1)));
  return made;
}

function parsed(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

function tokens(turn) {
  if (!turn.pieces) {
    const made = element("div", {}, element("pre", { kind: "long", text: turn.response }));
    if (turn.log_probs.some((value) => value !== null)) {
      const strip = element("pre", { kind: "tokens", title: "tokens; their tokenizer is not on this machine" });
      turn.response_ids.forEach((id, at) => strip.append(token(turn, String(id), at), " "));
      made.append(...titled("tokens", strip));
    }
    return made;
  }
  const made = element("pre", { kind: "tokens long" });
  turn.pieces.forEach((piece, at) => made.append(token(turn, piece, at)));
  return made;
}

function token(turn, text, at) {
  const made = shaded(text, turn.log_probs[at]);
  if (/^<\|.*\|>$/.test(text)) made.classList.add("special");
  const value = turn.values && turn.values.length === turn.response_ids.length ? `, value ${digits(turn.values[at])}` : "";
  made.title = `id ${turn.response_ids[at]}, log-prob ${digits(turn.log_probs[at])}${value}`;
  return made;
}

function shaded(text, logProb) {
  const made = element("span", { text });
  if (typeof logProb === "number") {
    const doubt = 0.75 * (1 - Math.exp(logProb));
    if (doubt > 0.005) made.style.backgroundColor = `rgba(var(--surprise), ${doubt.toFixed(3)})`;
  }
  return made;
}

function end(episode) {
  const made = element("article", {}, element("header", {}, element("b", { text: "After the last turn" }), outcome(episode)));
  const images = source.images(episode, episode.turns.length, episode.final.images);
  if (images.length) made.append(pictures(images));
  made.append(element("pre", { kind: "long", text: episode.final.text }));
  return made;
}

// ---------------------------------------------------------------- start

function fail(error) {
  detail.replaceChildren(element("p", { kind: "problem", text: error.message || String(error) }));
}

const guarded = (work) => (...given) => Promise.resolve(work(...given)).catch(fail);

async function start() {
  const { parts, envs } = await source.run();
  for (const [name, choices] of [["part", parts], ["env", envs]]) {
    form.elements[name].append(...choices.map((text) => element("option", { text })));
  }
  form.elements.env.hidden = envs.length < 2;
  for (const [name, value] of Object.entries(data.query)) {
    if (name === "descending") form.elements[name].checked = value;
    else form.elements[name].value = value;
  }
  document.body.classList.toggle("exported", source === exported);
  await showList();
  if (location.hash.length > 1) await showEpisode();
  else if (listed.length) go(listed[0]);
  else detail.replaceChildren(element("p", { kind: "about", text: "No episode is as asked for." }));
}

let waiting = 0;
form.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(guarded(() => showList(0)), 200);
});
form.addEventListener("submit", (event) => event.preventDefault());
document.getElementById("previous").addEventListener("click", guarded(() => showList(Math.max(0, first - PAGE))));
document.getElementById("next").addEventListener("click", guarded(() => showList(first + PAGE)));
window.addEventListener("hashchange", guarded(showEpisode));
document.addEventListener("keydown", (event) => {
  if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "j") guarded(step)(1);
  if (event.key === "k") guarded(step)(-1);
});
guarded(start)();
