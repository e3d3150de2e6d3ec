// The alarm bar and the list of alarms.

import { RANK, STARS, evidence, kind, span, time, when } from "./words.js";
import { thumb } from "./strips.js";

const LISTED = 60;
const UNFINISHED_MS = 3000;

const element = (tag, fields = {}, ...children) => {
  const made = Object.assign(document.createElement(tag), fields);
  made.append(...children);
  return made;
};

// Whether it concerns somebody: it stands, or it is one of those that call until somebody has seen it.
export const stands = (alert) =>
  alert.action === "alarm" && (alert.state === "open" || (alert.latching && !alert.answered_by));

const detail = (alert) =>
  [
    alert.state === "open" ? `since ${time(alert.onset_utc)}` : `${time(alert.onset_utc)}, over`,
    evidence(alert.evidence),
    alert.answered_by ? `acknowledged by ${alert.answered_by}` : "",
  ].filter(Boolean).join(" · ");

const lasted = (alert) => {
  if (alert.end_s === null) return "";
  return `${span(alert.end_s - alert.onset_s)}${alert.ended_by === "interrupted" ? ", interrupted" : ""}`;
};

export class Bar {
  constructor(bar) {
    this.bar = bar;
    this.part = (selector) => bar.querySelector(selector);
  }

  // `standing` are the alarms that stand, `calling` the ids of those to be signalled now, `quiet` why none is.
  // Returns the one that is shown.
  show(standing, calling, quiet) {
    const urgency = (alert) => [calling.has(alert.id) ? 0 : 1, RANK[alert.priority], -Date.parse(alert.onset_utc)];
    const sorted = standing.toSorted((a, b) => {
      const [left, right] = [urgency(a), urgency(b)];
      const differs = left.findIndex((each, index) => each !== right[index]);
      return differs < 0 ? 0 : left[differs] - right[differs];
    });
    const [first, ...others] = sorted;
    const calls = first !== undefined && calling.has(first.id);
    this.bar.dataset.priority = first?.priority ?? "none";
    this.bar.dataset.calling = calls;
    this.part(".stars").textContent = first ? STARS[first.priority] : "";
    this.part("strong").textContent = first ? kind(first.kind) : "No alarm";
    this.part(".detail").textContent = first ? [detail(first), first.local ? "" : quiet].filter(Boolean).join(" · ") : quiet;
    this.part(".others").replaceChildren(...others.slice(0, 4).map((alert) => {
      const item = element("li", { textContent: `${STARS[alert.priority]} ${kind(alert.kind)}` });
      item.dataset.priority = alert.priority;
      return item;
    }), ...(others.length > 4 ? [element("li", { textContent: `and ${others.length - 4} more` })] : []));
    this.part("#acknowledge").hidden = !first || first.local || Boolean(first.answered_by);
    this.part("#silence").hidden = first?.local || (calling.size === 0 && !quiet);
    this.part("#silence").firstChild.textContent = quiet && calling.size === 0 ? "End silence " : "Silence 2 min ";
    return first;
  }
}

export class List {
  constructor(list, none, strips, { show, acknowledge }) {
    this.list = list;
    this.none = none;
    this.strips = strips;
    this.show = show;
    this.acknowledge = acknowledge;
    this.items = new Map(); // alert id -> its <li>
    this.visible = new IntersectionObserver((entries) => entries.forEach((entry) => this.look(entry)));
  }

  look({ target, isIntersecting }) {
    // A strip is fetched when its place comes into view.
    target.inView = isIntersecting;
    if (isIntersecting) this.draw(target.alert);
  }

  fill(alerts, colours) {
    this.colours = colours;
    // Only what changed is made anew, so that whoever has the focus in the list keeps it.
    const shown = alerts.toSorted((a, b) => Date.parse(b.onset_utc) - Date.parse(a.onset_utc) || RANK[a.priority] - RANK[b.priority]).slice(0, LISTED);
    const before = this.items;
    this.items = new Map();
    for (const alert of shown) {
      const item = before.get(alert.id) ?? this.made(alert);
      this.update(item, alert);
      this.items.set(alert.id, item);
    }
    const wanted = [...this.items.values()];
    if (wanted.length !== this.list.children.length || wanted.some((item, index) => this.list.children[index] !== item)) {
      this.list.replaceChildren(...wanted);
    }
    this.none.hidden = shown.length > 0;
    for (const item of wanted) if (item.inView) this.draw(item.alert);
  }

  made(alert) {
    const show = element("button", { type: "button", className: "show" },
      element("span", {}, element("b"), element("small")), element("canvas"));
    const ack = element("button", { type: "button", className: "ack", textContent: "Acknowledge" });
    const item = element("li", {}, element("span", { className: "stripe" }), show, ack);
    this.visible.observe(item);
    show.onclick = () => this.show(alert.id);
    ack.onclick = () => this.acknowledge(alert.id);
    return item;
  }

  update(item, alert) {
    item.alert = alert;
    Object.assign(item.dataset, { priority: alert.priority, action: alert.action, open: alert.state === "open", kind: alert.kind });
    item.querySelector("b").textContent = kind(alert.kind);
    const seen = alert.answered_by ? `seen by ${alert.answered_by}` : "";
    const parts = [when(alert.onset_utc), lasted(alert), evidence(alert.evidence), seen];
    item.querySelector("small").textContent = parts.filter(Boolean).join(" · ");
    const words = `${kind(alert.kind)}, ${alert.action === "alarm" ? `${alert.priority} priority` : "recorded"}, `;
    item.querySelector(".show").setAttribute("aria-label", `${words}${when(alert.onset_utc)}. Show its strip`);
    item.querySelector(".ack").hidden = !stands(alert) || Boolean(alert.answered_by);
  }

  async draw(alert) {
    const strip = await this.strips.get(alert.id), item = this.items.get(alert.id), colours = this.colours;
    if (!item) return;
    const canvas = item.querySelector("canvas");
    if (strip && (canvas.dataset.drawn !== `${strip.counts.length}` || canvas.dataset.colour !== colours.trace)) {
      Object.assign(canvas.dataset, { drawn: strip.counts.length, colour: colours.trace });
      thumb(canvas, strip, alert, colours);
    }
    clearTimeout(item.again); // one at a time, however often it is drawn
    if (strip && !strip.complete) item.again = setTimeout(() => item.inView && this.draw(alert), UNFINISHED_MS);
  }
}
