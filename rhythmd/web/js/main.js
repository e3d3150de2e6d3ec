// The page: takes the stream's events, keeps what they say, and shows it.

import { Bar, List, stands } from "./alarms.js";
import { controls, showSettings } from "./controls.js";
import { colours } from "./paper.js";
import { normal, poincare, tachogram } from "./plots.js";
import { set, settings } from "./settings.js";
import { Sound } from "./sound.js";
import { Stream } from "./stream.js";
import { Strips, printed } from "./strips.js";
import { Sweep } from "./sweep.js";
import * as words from "./words.js";

const $ = (id) => document.getElementById(id);
const RR_S = 300;
const SILENCE_S = 120;
const KEPT_ALERTS = 200;
const UNFIT = new Set(["lead_off", "lost", "flat", "saturated"]);
const BANNERS = [ // the first that holds is shown
  ["patch_lost", "Patch not connected"],
  ["lead_off", "Lead off: press the electrode on"],
  ["signal_lost", "No signal from the patch"],
  ["noise", "Noise: the signal cannot be read"],
];
const LINKS = {
  connecting: { chip: "Connecting" },
  live: { chip: "Live" },
  silent: { chip: "Daemon silent", kind: "daemon_silent", banner: "The monitoring daemon does not answer. This picture is old." },
  lost: { chip: "Connection lost", kind: "connection_lost", banner: "Connection lost. This picture is old." },
};

const known = { patch: null, statuses: new Map(), alerts: new Map(), calling: new Map(), silences: new Map(), beats: [], guard: "" };
const sweep = new Sweep($("paper"), $("trace"));
const sound = new Sound();
const strips = new Strips();
const bar = new Bar($("bar"));
const list = new List($("list"), $("none"), strips, { show: showStrip, acknowledge });
const stream = new Stream(take, linked);
let theme = {}; // colours
let link = { state: "connecting", sinceUtc: new Date().toISOString() };
let inBar; // the alarm that the bar shows
let plotsDue = true;

const TAKES = {
  hello(hello) {
    if (known.version && known.version !== hello.version) location.reload(); // the server was updated meanwhile
    known.version = hello.version;
    if (!stream.patch && known.patch && hello.patch !== known.patch) { // a server begun anew heard another one first
      stream.open(known.patch);
      return;
    }
    Object.assign(known, { patch: hello.patch, beats: hello.beats, guard: hello.guard });
    known.statuses = new Map(hello.statuses.map((status) => [status.patch, status]));
    known.calling = new Map(hello.statuses.map((status) => [status.patch, new Set(status.calling)]));
    known.alerts = new Map(hello.alerts.map((alert) => [alert.id, alert]));
    known.silences = new Map();
    for (const silence of hello.silences) TAKES.silence(silence);
    $("version").textContent = hello.version;
    sweep.begin(hello.wave, hello.beats);
    showStatus();
    showPatches();
    fillList();
    plotsDue = true;
  },
  status(status) {
    known.patch ??= status.patch;
    known.statuses.set(status.patch, status);
    known.calling.set(status.patch, new Set(status.calling));
    showPatches();
    if (status.patch === known.patch) showStatus();
  },
  alert(alert) {
    const before = known.alerts.get(alert.id);
    known.alerts.set(alert.id, alert);
    const calling = known.calling.get(alert.patch) ?? new Set();
    known.calling.set(alert.patch, calling);
    if (stands(alert) && !alert.answered_by) {
      if (!before) calling.add(alert.id); // until the next status: at once
    } else {
      calling.delete(alert.id);
    }
    forget();
    if (!before && stands(alert)) say($("said-at-once"), `${alert.priority} priority alarm: ${words.kind(alert.kind)}`);
    else if (alert.state === "closed") say($("said"), `${words.kind(alert.kind)} is over`);
    if (alert.patch === known.patch) fillList();
  },
  silence({ patch, by, left_s }) {
    known.silences.set(patch, { by, untilMs: Date.now() + 1000 * left_s });
  },
  beat(beat) {
    if (known.beats.length && beat.at_s < known.beats.at(-1).at_s) known.beats = []; // the patch began anew
    known.beats = [...known.beats.filter((each) => each.at_s > beat.at_s - RR_S), beat];
    sweep.mark(beat);
    showRate(beat.heart_rate_bpm);
    $("rr").textContent = beat.rr_s === null ? "--" : Math.round(1000 * beat.rr_s);
    $("heart").classList.add("beats");
    setTimeout(() => $("heart").classList.remove("beats"), 130);
    plotsDue = true;
  },
  wave(wave) {
    sweep.add(wave);
  },
  tick() {},
};

function take(name, value) {
  TAKES[name](value);
  if (name !== "wave") showAlarms();
}

function forget() {
  // A page may stay open for months.
  const over = [...known.alerts.values()].filter((alert) => !stands(alert));
  for (const { id } of over.slice(0, Math.max(0, known.alerts.size - KEPT_ALERTS))) {
    known.alerts.delete(id);
    strips.forget(id);
  }
}

function linked(state) {
  link = { state, sinceUtc: new Date().toISOString() };
  const { chip, banner } = LINKS[state];
  $("link").textContent = chip;
  $("link").dataset.state = state;
  document.body.classList.toggle("stale", state !== "live");
  if (banner) say($("said-at-once"), banner);
  showAlarms();
  showBanner();
}

const say = (place, text) => { place.textContent = text; };

function linkAlarm() {
  const name = LINKS[link.state].kind;
  return name && {
    id: "link", kind: name, priority: "high", action: "alarm", state: "open", latching: false, evidence: {},
    onset_utc: link.sinceUtc, answered_by: "", local: true,
  };
}

function silence() {
  const held = known.silences.get(known.patch);
  return held && held.untilMs > Date.now() ? held : null;
}

function showAlarms() {
  const local = linkAlarm();
  const standing = [...known.alerts.values()].filter((alert) => alert.patch === known.patch && stands(alert));
  const calling = new Set(known.calling.get(known.patch));
  const held = silence();
  const unheard = standing.some((alert) => !alert.answered_by && !calling.has(alert.id));
  const until = held && words.time(new Date(held.untilMs).toISOString());
  const quiet = held ? `silenced by ${held.by} until ${until}` : unheard ? "silenced" : "";
  if (local) calling.add(local.id);
  inBar = bar.show(local ? [local, ...standing] : standing, calling, quiet);
  const first = inBar && calling.has(inBar.id) ? inBar : null;
  sound.call(first?.priority ?? null);
  document.title = inBar ? `${words.STARS[inBar.priority]} ${words.kind(inBar.kind)} – rhythmd` : "rhythmd";
}

function fillList() {
  list.fill([...known.alerts.values()].filter((alert) => alert.patch === known.patch), theme);
}

function showPatches() {
  const select = $("patch");
  const names = [...new Set([...known.statuses.keys(), ...(known.patch ? [known.patch] : [])])].sort();
  const label = (name) => (name !== known.patch && known.calling.get(name)?.size ? `${name}  *** alarm` : name);
  if (select.options.length !== names.length || names.some((name, index) => select.options[index].value !== name)) {
    select.replaceChildren(...names.map((name) => new Option(name, name)));
  }
  names.forEach((name, index) => { if (select.options[index].text !== label(name)) select.options[index].text = label(name); });
  if (known.patch) select.value = known.patch;
  select.disabled = names.length < 2;
}

function showStatus() {
  const status = known.statuses.get(known.patch);
  if (!status) return;
  showRate(status.heart_rate_bpm);
  $("rhythm").textContent = words.rhythm(status.rhythm);
  $("rhythm").dataset.rhythm = status.rhythm === "N" ? "normal" : "abnormal";
  $("quality").textContent = status.port === "absent" ? "Patch away" : status.silent ? "Nothing comes" : words.quality(status.quality);
  $("quality").dataset.good = status.port === "open" && !status.silent && status.quality === "good";
  $("battery").hidden = !status.battery_low;
  const nowS = known.beats.at(-1)?.at_s ?? 0;
  $("ventricular").textContent = known.beats.filter((beat) => beat.beat === "V" && beat.at_s > nowS - 60).length;
  showBanner();
}

function showRate(bpm) {
  $("rate").textContent = bpm === null || bpm === undefined ? "--" : Math.round(bpm);
}

function showBanner() {
  const status = known.statuses.get(known.patch);
  const technical = new Set(status?.technical);
  if (status && UNFIT.has(status.quality)) technical.add(status.quality === "lost" ? "signal_lost" : "lead_off");
  const text = LINKS[link.state].banner ?? BANNERS.find(([name]) => technical.has(name))?.[1] ?? "";
  $("banner").textContent = text;
  $("banner").hidden = !text;
  $("banner").dataset.priority = LINKS[link.state].banner ? "high" : "medium";
}

function showPlots() {
  plotsDue = false;
  tachogram($("tachogram"), known.beats, theme);
  poincare($("poincare"), known.beats, theme);
  const nn = normal(known.beats);
  $("nn").textContent = nn ? `NN ${Math.round(nn.mean)} ± ${Math.round(nn.sd)} ms` : "";
  $("sd").textContent = nn ? `SD1 ${Math.round(nn.sd1)}  SD2 ${Math.round(nn.sd2)}` : "";
  const told = nn ? `: mean ${Math.round(nn.mean)} ms, standard deviation ${Math.round(nn.sd)} ms` : "";
  $("tachogram").setAttribute("aria-label", `RR intervals of the last five minutes${told}`);
}

function lay() {
  document.documentElement.dataset.theme = settings.theme;
  theme = colours();
  sweep.lay({ ...settings, colours: theme });
  $("scale").textContent = `${settings.speed} mm/s · ${settings.gain} mm/mV`;
  $("trace").setAttribute("aria-label", `ECG sweep, ${settings.speed} millimetres a second, ${settings.gain} millimetres a millivolt`);
  showSettings();
  fillList();
  plotsDue = true;
}

const change = (to) => { set(to); lay(); };

async function answer(request) {
  try {
    const reply = await fetch("answer", {
      method: "POST",
      headers: { "Content-Type": "application/json", "X-Guard": known.guard },
      body: JSON.stringify({ ...request, by: settings.by }),
    });
    toast(reply.ok ? "" : `Not done: ${await reply.text()}`);
  } catch {
    toast("Not done: the page's server does not answer");
  }
}

function toast(text) {
  $("toast").textContent = text;
  $("toast").hidden = !text;
  if (text) setTimeout(() => { if ($("toast").textContent === text) toast(""); }, 8000);
}

function acknowledge(id = inBar && !inBar.local ? inBar.id : null) {
  if (id) answer({ ask: "acknowledge", id });
}

function silencePatch() {
  if (!$("silence").hidden) answer({ ask: "silence", for_s: silence() ? 0 : SILENCE_S, patch: known.patch });
}

function switchSound() {
  sound.switch(!sound.on);
  $("sound").setAttribute("aria-pressed", sound.on);
  $("sound").textContent = sound.on ? "Sound on" : "Sound off";
}

async function showStrip(id) {
  const alert = known.alerts.get(id), strip = await strips.get(id);
  $("strip-title").textContent = `${words.kind(alert.kind)}, ${words.when(alert.onset_utc)}`;
  const seen = alert.answered_by ? `, acknowledged by ${alert.answered_by}` : "";
  $("strip-detail").textContent = [`${alert.patch}, ${alert.priority} priority${seen}`, words.evidence(alert.evidence)].filter(Boolean).join(". ");
  $("strip-canvas").hidden = !strip;
  $("strip-scale").textContent = strip
    ? `${settings.speed} mm/s · ${settings.gain} mm/mV · 0.5–40 Hz · shaded: what it was raised on`
    : "No strip of it is kept.";
  $("strip").showModal();
  if (!strip) return;
  const { startX } = printed($("strip-canvas"), strip, alert, settings);
  $("strip-canvas").setAttribute("aria-label", `ECG strip of ${Math.round(strip.counts.length / strip.rate_hz)} seconds`);
  $("strip-canvas").parentElement.scrollLeft = startX;
}

controls({ change, acknowledge, silencePatch, switchSound, open: (patch) => stream.open(patch) });
new ResizeObserver(lay).observe($("trace"));
setInterval(() => { $("clock").textContent = words.time(new Date().toISOString()); }, 500);

function keepAwake() {
  // A phone beside a bed: its screen stays lit. Not every browser can, nor without HTTPS or loopback.
  if (document.visibilityState === "visible") navigator.wakeLock?.request("screen").catch(() => {});
}

document.addEventListener("visibilitychange", keepAwake);
keepAwake();

function frame(nowMs) {
  if (link.state === "live" || link.state === "connecting") sweep.frame(nowMs);
  if (plotsDue) showPlots();
  requestAnimationFrame(frame);
}

lay();
stream.open(new URLSearchParams(location.search).get("patch"));
requestAnimationFrame(frame);
