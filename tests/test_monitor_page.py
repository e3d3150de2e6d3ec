"""The live page in a real browser: Debian's Chromium, headless, driven by Playwright."""

from __future__ import annotations

import io
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from time import sleep

import pytest

from daemon.messages import Answered
from rhythmd import patient, rehearsal
from rhythmd.player import Player
from rhythmd.subscriber import Subscriber
from tests.bed import Bed, serving
from tests.ports import free_port
from tests.running import eventually, until

playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no browser is installed: apt-get install chromium"),
    pytest.mark.timeout(180),
]

PICTURES = Path(__file__).parents[1] / "docs" / "img"
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
DEATH_SHOWS_S = 3.0
RED, YELLOW, CYAN = "rgb(229, 19, 43)", "rgb(255, 207, 0)", "rgb(44, 199, 221)"


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM)
        yield running
        running.close()


@contextmanager
def opened(browser, port: int, path: str = "/", **context):
    """The page, live; what the browser complains of fails the test."""
    complaints: list[str] = []
    with closing(browser.new_context(**{"viewport": LAPTOP, **context})) as visit:
        page = visit.new_page()
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}{path}")
        page.wait_for_selector("#link[data-state=live]")
        yield page
        visit.close()
    assert [text for text in complaints if "ERR_CONNECTION_REFUSED" not in text and "ERR_INCOMPLETE" not in text] == []


def ink(page, canvas: str) -> str:
    return page.evaluate(f"document.querySelector('{canvas}').toDataURL()")


def becomes(page, condition: str) -> None:
    """Playwright's own way would need `eval`, which the page forbids."""
    eventually(lambda: page.evaluate(condition), within_s=10.0)


def shown(page, selector: str) -> str:
    return page.inner_text(selector).strip()


def bar(page) -> tuple[str, str, bool]:
    """What the alarm bar shows: the alarm, its colour when lit, and whether it flashes."""
    return (
        shown(page, "#bar strong"),
        page.evaluate("(document.getAnimations().forEach((each) => each.currentTime = 0), "
                      "getComputedStyle(document.querySelector('#bar')).backgroundColor)"),
        page.evaluate("document.querySelector('#bar').getAnimations().length > 0"),
    )  # fmt: skip


@pytest.fixture
def bed() -> Iterator[tuple[Bed, int]]:
    with serving() as (bed, port):
        bed.clock()
        for _ in range(60):
            bed.wave()
        bed.tell_status()
        with bed.plays():
            yield bed, port


def test_the_sweep_moves_and_each_beat_is_marked_in_its_colour(browser, bed):
    _, port = bed
    with opened(browser, port) as page:
        first = ink(page, "#trace")
        page.wait_for_timeout(300)
        assert ink(page, "#trace") != first
        pixels_of = """(colours) => {
            const canvas = document.querySelector('#trace'), context = canvas.getContext('2d');
            const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
            const counts = colours.map(() => 0);
            for (let at = 0; at < data.length; at += 4)
                colours.forEach((colour, index) => {
                    if (data[at + 3] > 200 && colour.every((part, each) => data[at + each] === part)) counts[index]++;
                });
            return counts;
        }"""
        trace, normal = page.evaluate(pixels_of, [[0x35, 0xE0, 0x7F], [0x6F, 0x87, 0x90]])
        assert (trace > 1000, normal > 20) == (True, True)
        page.wait_for_timeout(500)
        assert shown(page, "#rate") == "71"


def test_the_trace_has_the_size_that_its_scale_tells(browser, bed):
    """The 1 mV pulse is as high as 10 mm of the grid, and twice as high at 20 mm/mV; a second is 25 mm."""
    _, port = bed
    with opened(browser, port) as page:
        sweep = (
            "import('/js/sweep.js').then(({Sweep}) => {const s = new Sweep(document.querySelector('#paper'), "
            "document.querySelector('#trace')); s.lay({pxPerMm: %s, speed: %s, gain: %s, colours: {beats: {}}}); "
            "return [s.pxPerMv, s.pxPerSlot * 250, s.place(250).x - s.place(0).x]})"
        )
        for mm, speed, gain in ((4, 25, 10), (4, 50, 20), (5, 12.5, 5)):
            assert page.evaluate(sweep % (mm, speed, gain)) == pytest.approx([mm * gain, mm * speed, mm * speed])
        page.keyboard.press("]")
        page.keyboard.press("+")
        assert shown(page, "#scale").split() == ["50", "mm/s", "·", "20", "mm/mV"]
        page.reload()
        assert shown(page, "#scale").split() == ["50", "mm/s", "·", "20", "mm/mV"]  # this browser remembers


@pytest.mark.parametrize(
    ("priority", "colour", "hz"), [("high", RED, (1.4, 2.8)), ("medium", YELLOW, (0.4, 0.8)), ("low", CYAN, None)]
)
def test_an_alarm_has_the_colour_and_the_flashing_of_its_priority(browser, bed, priority, colour, hz):
    """IEC 60601-1-8."""
    bed, port = bed
    with opened(browser, port) as page:
        assert shown(page, "#bar strong") == "No alarm"
        bed.alert("atrial_fibrillation", "a", priority)
        page.wait_for_selector(f"#bar[data-priority={priority}][data-calling=true]")
        assert bar(page) == ("Atrial fibrillation", colour, hz is not None)
        if hz:
            (period_ms,) = page.evaluate(
                "document.querySelector('#bar').getAnimations().map((each) => each.effect.getTiming().duration)"
            )
            assert hz[0] <= 1000 / period_ms <= hz[1]
        assert shown(page, "#bar .stars") == {"high": "***", "medium": "**", "low": "*"}[priority]
        assert "Atrial fibrillation" in page.title()
        assert page.inner_text("#said-at-once") == f"{priority} priority alarm: Atrial fibrillation"


def test_the_most_urgent_alarm_is_in_the_bar_and_the_others_beside_it(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        bed.alert("noise", "n", "low")
        bed.alert("asystole", "a", latching=True, evidence={"no_beat_s": 4.2})
        bed.alert("lead_off", "l", "medium")
        page.wait_for_selector("#bar .others li:nth-child(2)")
        assert shown(page, "#bar strong") == "Asystole"
        assert "no beat for 4.2 s" in shown(page, "#bar .detail")
        assert page.locator("#bar .others li").all_inner_texts() == ["** Lead off", "* Noise"]
        bed.alert("asystole", "a", latching=True, onset_sample=0, end_sample=900)
        becomes(page, "document.querySelector('#bar .detail').textContent.includes('over')")
        assert bar(page) == ("Asystole", RED, True)  # it is latching, and nobody has seen it


def test_acknowledging_by_key_stops_the_flashing_and_names_who_did(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        page.click("#settings-open")
        page.fill("#by", "night nurse")
        page.keyboard.press("Enter")
        bed.alert("asystole", "a")
        page.wait_for_selector("#bar[data-calling=true]")
        page.keyboard.press("a")
        page.wait_for_selector("#bar[data-calling=false]")
        assert "acknowledged by night nurse" in shown(page, "#bar .detail")
        assert bar(page) == ("Asystole", RED, False)
        assert [(request.id, request.by) for request in bed.answered] == [("a", "night nurse")]


def test_silencing_is_shown_while_it_lasts_and_a_second_one_ends_it(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        bed.alert("lead_off", "l", "medium")
        page.click("#silence")
        page.wait_for_selector("#bar[data-calling=false]")
        assert "silenced by monitor page until" in shown(page, "#bar .detail")
        page.wait_for_timeout(1200)  # a status or two later
        page.click("#silence")
        becomes(page, "!document.querySelector('#bar .detail').textContent.includes('silenced by')")
        assert [(request.for_s, request.patch) for request in bed.answered] == [(120, "patch0"), (0, "patch0")]


def test_lead_off_and_noise_are_told_over_the_trace(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        assert page.is_hidden("#banner")
        for change, says in (
            ({"technical": ("lead_off",)}, "Lead off"),
            ({"technical": ("noise",)}, "Noise"),
            ({"quality": "lost"}, "No signal"),
        ):
            bed.tell_status(**{"technical": (), "quality": "good", **change})
            becomes(page, f"document.querySelector('#banner').textContent.includes('{says}')")
        bed.tell_status(technical=(), quality="good")
        page.wait_for_selector("#banner", state="hidden")


def test_the_strip_of_an_alarm_opens_from_the_list_by_keyboard(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        bed.alert("ventricular_run", "v", "medium", evidence={"beats": 3})
        page.wait_for_selector("#list canvas[data-drawn]")
        page.keyboard.press("l")
        page.keyboard.press("Enter")
        page.wait_for_selector("#strip[open]")
        assert "Ventricular run" in shown(page, "#strip-title")
        assert page.evaluate("document.querySelector('#strip-canvas').clientWidth") > 25 * 3.7 * 6  # to scale
        page.keyboard.press("Escape")
        assert page.is_hidden("#strip")


def test_two_patches_are_told_apart_and_the_other_ones_alarm_is_seen(browser, bed):
    bed, port = bed
    other = Bed(bed.relay, "patch1")
    other.status = bed.status.__class__(
        **{**{f: getattr(bed.status, f) for f in bed.status.__struct_fields__}, "patch": "patch1"}
    )
    with opened(browser, port) as page:
        other.tell_status(rhythm="AFIB")
        other.alert("atrial_fibrillation", "b", "medium")
        other.tell_status()
        becomes(page, "[...document.querySelector('#patch').options].some((each) => each.text.includes('alarm'))")
        assert shown(page, "#bar strong") == "No alarm"
        page.select_option("#patch", "patch1")
        page.wait_for_selector("#bar[data-priority=medium]")
        assert shown(page, "#rhythm") == "Atrial fibrillation"


def test_a_patch_that_is_not_heard_is_told_and_no_other_ones_heart_is_shown_for_it(browser, bed):
    """As after a new start of the server, with a page that somebody left at one of several patches."""
    _, port = bed
    with opened(browser, port) as page:
        assert shown(page, "#rate") == "71"
        page.goto(f"http://127.0.0.1:{port}/?patch=patch9")
        page.wait_for_selector("#link[data-state=silent]")
        assert shown(page, "#rate") == "--"
        page.select_option("#patch", "patch0")
        page.wait_for_selector("#link[data-state=live]")
        eventually(lambda: shown(page, "#rate") == "71")


def test_a_page_stays_with_its_patch_though_a_new_server_hears_another_one_first(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        assert page.input_value("#patch") == "patch0"
        other = Bed(bed.relay, "patch1")
        other.tell_status(heart_rate_bpm=180.0)
        heard = bed.relay._bedsides
        bed.relay._bedsides = dict(sorted(heard.items(), reverse=True))
        (viewer,) = bed.relay._viewers
        viewer.behind = True  # ends the stream: the browser comes again
        eventually(lambda: bed.relay._viewers and viewer not in bed.relay._viewers, within_s=15.0)
        sleep(1.5)
        assert page.input_value("#patch") == "patch0"
        assert shown(page, "#rate") == "71"
        becomes(page, "document.querySelector('#link').dataset.state === 'live'")


def test_whoever_wants_less_motion_has_no_flashing_and_the_colour_all_the_same(browser, bed):
    bed, port = bed
    with opened(browser, port, reduced_motion="reduce") as page:
        bed.alert("asystole", "a")
        page.wait_for_selector("#bar[data-calling=true]")
        assert bar(page) == ("Asystole", RED, False)
        before = ink(page, "#trace")
        page.wait_for_timeout(1300)
        assert ink(page, "#trace") != before  # by the second


def test_a_phone_shows_it_without_scrolling_sideways_and_everything_has_a_name(browser, bed):
    bed, port = bed
    with opened(browser, port, viewport=PHONE, is_mobile=True, has_touch=True) as page:
        bed.alert("ventricular_tachycardia", "v", evidence={"beats": 5, "rate_bpm": 173.0})
        page.wait_for_selector("#list li")
        assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        for button in page.locator("button:visible, select:visible, input:visible").all():
            name = button.evaluate(
                "(each) => each.getAttribute('aria-label') || each.textContent || each.labels?.[0]?.textContent"
            )
            assert name.strip()
        assert "Not a medical device" in shown(page, ".disclaimer")
        box = page.locator("#acknowledge").bounding_box()
        assert box["height"] >= 40  # a finger


@pytest.mark.alone
def test_a_frame_takes_a_small_part_of_a_sixtieth_of_a_second(browser, bed):
    """Drawing alone, so that a busy machine's browser does not count."""
    _, port = bed
    with opened(browser, port) as page:
        took_ms = page.evaluate("""async () => {
            const {Sweep} = await import('/js/sweep.js');
            const frame = Sweep.prototype.frame, took = [];
            Sweep.prototype.frame = function (now) {
                const began = performance.now();
                frame.call(this, now);
                took.push(performance.now() - began);
            };
            await new Promise((done) => setTimeout(done, 2000));
            Sweep.prototype.frame = frame;
            return took.sort((a, b) => a - b);
        }""")
    print(f"a frame takes {took_ms[len(took_ms) // 2]:.2f} ms, 99 % within {took_ms[-1 - len(took_ms) // 100]:.2f} ms")
    assert len(took_ms) > 20
    assert took_ms[len(took_ms) // 2] < 4.0


def test_the_sound_is_off_until_it_is_asked_for_and_a_high_alarm_has_ten_pulses(browser, bed):
    bed, port = bed
    with opened(browser, port) as page:
        page.evaluate("""() => {
            window.pulses = [];
            const start = OscillatorNode.prototype.start;
            OscillatorNode.prototype.start = function (at) { window.pulses.push(at); start.call(this, at); };
        }""")
        bed.alert("asystole", "a")
        page.wait_for_timeout(700)
        assert page.evaluate("window.pulses.length") == 0
        page.keyboard.press("m")
        becomes(page, "window.pulses.length > 0")
        assert len(page.evaluate("[...new Set(window.pulses)]")) == 10
        assert shown(page, "#sound") == "Sound on"
        page.keyboard.press("a")
        page.wait_for_selector("#bar[data-calling=false]")
        page.wait_for_timeout(7500)
        assert len(page.evaluate("[...new Set(window.pulses)]")) == 10


class Chain:
    """A daemon that a simulated patient wears, and `rhythmd monitor`, which may be started again."""

    def __init__(self, daemon: rehearsal.Daemon) -> None:
        self.daemon = daemon
        self.port = free_port()
        self.monitors()

    def monitors(self) -> None:
        command = [
            sys.executable,
            "-m",
            "rhythmd",
            "monitor",
            f"--port={self.port}",
            f"--connect={self.daemon.address}",
        ]
        self.monitor = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert b"The page" in self.monitor.stdout.readline()

    def kill_monitor(self) -> None:
        self.monitor.kill()
        self.monitor.wait()
        self.monitor.stdout.close()


@contextmanager
def chain(script: str) -> Iterator[Chain]:
    player = Player(patient.make(script, seed=1).recording, "rhythmd")
    with rehearsal.daemon() as running, rehearsal.worn(player, running.port):
        chained = Chain(running)
        try:
            yield chained
        finally:
            chained.kill_monitor()


def shows_within(page, state: str, within_s: float) -> None:
    page.wait_for_selector(f"#link[data-state={state}]", timeout=1000 * within_s)


def test_a_replayed_tachycardia_raises_the_bar_is_acknowledged_and_each_death_shows_within_3_s(browser):
    with ExitStack() as stack:
        chained = stack.enter_context(chain("sinus 8, vt 12, sinus 120"))
        subscriber = stack.enter_context(Subscriber(chained.daemon.address, ("answered",)))
        page = stack.enter_context(opened(browser, chained.port))
        page.wait_for_selector("#bar[data-priority=high][data-calling=true]", timeout=40_000)
        becomes(page, "document.querySelector('#bar strong').textContent === 'Ventricular tachycardia'")
        assert bar(page) == ("Ventricular tachycardia", RED, True)
        page.wait_for_selector("#list [data-kind=ventricular_tachycardia] canvas[data-drawn]")

        chained.kill_monitor()
        shows_within(page, "lost", DEATH_SHOWS_S)
        assert bar(page) == ("Connection lost", RED, True)
        assert "This picture is old" in shown(page, "#banner")
        chained.monitors()
        shows_within(page, "live", 15.0)

        while page.get_attribute("#bar", "data-calling") == "true":  # a fast run may raise more than one
            page.click("#acknowledge")
            page.wait_for_timeout(300)
        answered = until(subscriber, lambda one: isinstance(one.message, Answered))
        assert answered[-1].message.by == "monitor page"

        chained.daemon.process.send_signal(signal.SIGSTOP)
        shows_within(page, "silent", DEATH_SHOWS_S)
        assert bar(page) == ("The monitoring daemon does not answer", RED, True)
        assert page.is_hidden("#acknowledge")  # nobody would hear it
        chained.daemon.process.send_signal(signal.SIGCONT)
        shows_within(page, "live", 5.0)
        chained.daemon.process.kill()
        shows_within(page, "silent", DEATH_SHOWS_S)
        chained.monitor.send_signal(signal.SIGSTOP)
        shows_within(page, "lost", DEATH_SHOWS_S)


def picture(page, name: str) -> None:
    """A screenshot in 200 colours: a third of the bytes, and nobody sees the difference."""
    from PIL import Image

    with Image.open(io.BytesIO(page.screenshot())) as whole:
        whole.convert("RGB").quantize(200, dither=Image.Dither.NONE).save(PICTURES / f"{name}.png", optimize=True)


@pytest.mark.timeout(600)
def test_the_pictures_of_the_docs_are_of_this_page(browser, request):
    """`--update-pictures` takes them, with five minutes of a patient behind them; otherwise they are there."""
    names = ("monitor", "monitor-strip", "monitor-light", "monitor-phone")
    if not request.config.getoption("--update-pictures"):
        assert [name for name in names if not (PICTURES / f"{name}.png").exists()] == []
        return
    PICTURES.mkdir(exist_ok=True)
    script = "sinus 45, pvc 50, sinus 20, af 75, sinus 25, vt 14, sinus 60"
    with chain(script) as chained, opened(browser, chained.port) as page:
        tachycardia = "#bar[data-calling=true]:has(strong:text('Ventricular tachycardia'))"
        page.wait_for_selector(tachycardia, timeout=400_000)
        with opened(browser, chained.port, viewport=PHONE, is_mobile=True, device_scale_factor=2) as phone:
            page.wait_for_timeout(7000)
            lit = "document.getAnimations().forEach((each) => { each.pause(); each.currentTime = 0; })"
            for seen, name in ((page, "monitor"), (phone, "monitor-phone")):
                seen.evaluate(lit)
                picture(seen, name)
                seen.evaluate("document.getAnimations().forEach((each) => each.play())")
        page.wait_for_timeout(12_000)  # the strip is complete
        page.click("#list [data-kind=ventricular_tachycardia] .show")
        page.wait_for_timeout(300)
        picture(page, "monitor-strip")
        page.keyboard.press("Escape")
        while page.get_attribute("#bar", "data-priority") != "none":
            page.keyboard.press("a")
            page.wait_for_timeout(300)
        page.keyboard.press("t")
        page.wait_for_timeout(16_000)
        picture(page, "monitor-light")
