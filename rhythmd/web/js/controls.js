// Buttons, keys and the dialog of settings.

import { GAINS, SPEEDS, beside, set, settings } from "./settings.js";

const $ = (id) => document.getElementById(id);
const CARD_MM = 54;

export function showSettings() {
  // What the controls say, as the settings are now.
  $("theme").textContent = settings.theme === "dark" ? "Light" : "Dark";
  for (const name of ["speed", "gain"]) {
    for (const input of $(name).querySelectorAll("input")) input.checked = Number(input.value) === settings[name];
  }
  $("card-bar").style.width = `${CARD_MM * settings.pxPerMm}px`;
  $("card-says").textContent = `${settings.pxPerMm.toFixed(2)} pixels a millimetre`;
}

function choices(name, values, unit, change) {
  for (const value of values) {
    const input = Object.assign(document.createElement("input"), { type: "radio", name, value });
    const label = document.createElement("label"), span = document.createElement("span");
    span.textContent = `${value}`;
    label.append(input, span);
    input.onchange = () => change({ [name]: value });
    $(name).append(label);
  }
  $(name).append(unit);
}

export function controls({ change, acknowledge, silencePatch, switchSound, open }) {
  // Single letters as keys can be switched off: they trip who speaks to a browser.
  const keys = {
    a: () => acknowledge(),
    s: silencePatch,
    m: switchSound,
    t: () => change({ theme: settings.theme === "dark" ? "light" : "dark" }),
    l: () => ($("list").querySelector("button") ?? $("list")).focus(),
    "[": () => change({ speed: beside(SPEEDS, settings.speed, -1) }),
    "]": () => change({ speed: beside(SPEEDS, settings.speed, 1) }),
    "-": () => change({ gain: beside(GAINS, settings.gain, -1) }),
    "+": () => change({ gain: beside(GAINS, settings.gain, 1) }),
    "?": () => $("help").showModal(),
  };
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=radio]), select") || document.querySelector("dialog[open]");
    const key = keys[event.key.toLowerCase()];
    if (!key || !settings.keys || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    key();
  });

  choices("speed", SPEEDS, "mm/s", change);
  choices("gain", GAINS, "mm/mV", change);
  $("acknowledge").onclick = () => acknowledge();
  $("silence").onclick = silencePatch;
  $("sound").onclick = switchSound;
  $("theme").onclick = keys.t;
  $("help-open").onclick = keys["?"];
  $("settings-open").onclick = () => $("settings").showModal();
  $("patch").onchange = (event) => open(event.target.value);
  $("by").value = settings.by;
  $("by").onchange = (event) => set({ by: event.target.value.trim() || "monitor page" });
  $("card").value = settings.pxPerMm;
  $("card").oninput = (event) => change({ pxPerMm: Number(event.target.value) });
  $("keys").checked = settings.keys;
  $("keys").onchange = (event) => set({ keys: event.target.checked });
}
