"""The page in a real browser, against a real server with a small world."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, expect

from reverie.serve.app import ServeConfig, make_app
from reverie.serve.session import SessionConfig
from tests.browser.conftest import NUM_SEATS, wait_for_dream, watch
from tests.support.serve_server import running_server
from tests.support.serve_worlds import make_shift_show

pytestmark = pytest.mark.browser

READ_CANVAS = """id => {
  const canvas = document.getElementById(id);
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const pen = copy.getContext("2d", { willReadFrequently: true });
  pen.drawImage(canvas, 0, 0);
  return Array.from(pen.getImageData(0, 0, copy.width, copy.height).data);
}"""


def pixels(page: Page, name: str) -> list[int]:
    return page.evaluate(READ_CANVAS, name)


def difference(first: list[int], second: list[int]) -> float:
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / len(first)


def fact(page: Page, name: str) -> str:
    return page.locator(f'[data-fact="{name}"]').inner_text()


def wait_for_horizon(page: Page, horizon: int) -> None:
    for _ in range(200):
        if int(fact(page, "horizon")) >= horizon:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"the dream did not reach frame {horizon}")


def play_from_same_start(page: Page, key: str) -> list[int]:
    """Replay the episode's seed, hold a key for some single steps, return the dreamed picture."""
    page.keyboard.press("n")
    expect(page.locator("#pause")).to_have_text("Play")
    page.keyboard.press("t")
    expect(page.locator("#episode-text")).to_contain_text("step 0")
    page.keyboard.down(key)
    for _ in range(8):
        step = page.locator("#episode-text").inner_text()
        page.keyboard.press("n")
        expect(page.locator("#episode-text")).not_to_have_text(step)
    page.keyboard.up(key)
    return pixels(page, "dream")


def test_the_page_loads_without_complaints_and_dreams(page: Page, complaints: list[str]) -> None:
    expect(page.locator("#connection")).to_have_text("connected")
    expect(page.locator("#instruction")).not_to_be_empty()
    assert page.locator("#task option").all_inner_texts() == ["toy-paint", "toy-fall"]
    assert len(set(pixels(page, "real"))) > 3
    assert len(set(pixels(page, "dream"))) > 3
    assert complaints == []


def test_keys_move_the_dream_and_directions_differ(page: Page) -> None:
    left = play_from_same_start(page, "ArrowLeft")
    right = play_from_same_start(page, "ArrowRight")
    again = play_from_same_start(page, "KeyA")
    assert difference(left, right) > 5
    assert difference(left, again) == 0


def test_the_sent_action_is_shown_and_let_go(page: Page) -> None:
    page.keyboard.down("d")
    value = page.locator(".lane output").first
    expect(value).to_have_text("1.00")
    page.keyboard.down("ArrowUp")
    expect(page.locator(".lane output").nth(1)).to_have_text("-1.00")
    page.keyboard.up("ArrowUp")
    page.keyboard.up("d")
    expect(value).to_have_text("0.00")


def test_buttons_for_fingers_drive_while_held(page: Page) -> None:
    box = page.get_by_role("button", name="−1").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    expect(page.locator(".lane output").first).to_have_text("-1.00")
    page.mouse.up()
    expect(page.locator(".lane output").first).to_have_text("0.00")


def test_readings_change_and_colour_the_border(page: Page) -> None:
    page.keyboard.press("r")
    seen = set()
    for _ in range(12):
        seen.add(page.locator('[data-reading="u_f"] .big').inner_text())
        page.wait_for_timeout(60)
    assert len(seen) > 3
    for name in ("u_r", "u_f", "u_s"):
        expect(page.locator(f'[data-reading="{name}"] .raw')).to_contain_text("raw 0.")
        expect(page.locator(f'[data-reading="{name}"] footer')).to_contain_text("limits 0.300")
    expect(page.locator('[data-reading="psnr"] .big')).to_contain_text("dB")
    level = page.locator("#dream-world").get_attribute("data-level")
    assert level in ("green", "yellow", "red")
    sparkline = page.locator('[data-reading="u_f"] canvas')
    drawn = sparkline.evaluate(
        "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v > 0)"
    )
    assert drawn


def test_pause_holds_both_worlds_and_step_moves_one_frame(page: Page) -> None:
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Play")
    before = page.locator("#episode-text").inner_text()
    page.wait_for_timeout(250)
    assert page.locator("#episode-text").inner_text() == before
    page.locator("#step").click()
    expect(page.locator("#episode-text")).not_to_have_text(before)
    step = int(before.rsplit(" ", 1)[1])
    expect(page.locator("#episode-text")).to_contain_text(f"step {step + 1}")
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Pause")


def test_reset_begins_a_new_episode_with_a_new_seed(page: Page) -> None:
    seed = fact(page, "seed")
    wait_for_horizon(page, 5)
    # Paused: no episode ends by itself before the page is looked at.
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Play")
    number = int(page.locator("#episode-text").inner_text().split()[1].rstrip(","))
    page.locator("#reset").click()
    expect(page.locator("#episode-text")).to_contain_text(f"episode {number + 1},")
    assert fact(page, "seed") != seed
    page.keyboard.press("Space")


def test_reseeding_brings_the_dream_back_to_reality(page: Page) -> None:
    wait_for_horizon(page, 20)
    page.keyboard.press("Space")
    expect(page.locator("#pause")).to_have_text("Play")
    far = difference(pixels(page, "real"), pixels(page, "dream"))
    page.keyboard.press("c")
    expect(page.locator("#level-text")).to_have_text("reseeded")
    near = difference(pixels(page, "real"), pixels(page, "dream"))
    assert fact(page, "horizon") == "0"
    assert near < far


def test_the_probability_is_shown_and_flags(page: Page) -> None:
    card = page.locator('[data-reading="outlook"]')
    expect(card.locator(".big")).to_contain_text("%")
    expect(card.locator("footer")).to_contain_text("flag above 50 %")
    expect(card.locator("footer")).to_contain_text("flagged at 4")
    expect(page.locator('[data-fact="flag"]')).to_have_text("frame 4")


def test_the_heat_map_lies_over_the_dream_when_asked(page: Page) -> None:
    expect(page.locator("#heat")).to_be_hidden()
    page.keyboard.press("h")
    expect(page.locator("#heat")).to_be_visible()
    dream, heat = (page.locator(name).bounding_box() for name in ("#dream", "#heat"))
    assert dream is not None and heat is not None
    assert abs(dream["width"] - heat["width"]) < 2 and abs(dream["y"] - heat["y"]) < 2
    page.locator("#heat-toggle").click()
    expect(page.locator("#heat")).to_be_hidden()


def test_the_dream_can_be_seen_alone_and_large(page: Page) -> None:
    before = page.locator("#dream").bounding_box()
    page.keyboard.press("v")
    expect(page.locator("#real-world")).to_be_hidden()
    after = page.locator("#dream").bounding_box()
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"] * 1.15
    page.locator("#view").click()
    expect(page.locator("#real-world")).to_be_visible()


def test_a_random_driver_takes_over_until_a_key_is_pressed(page: Page) -> None:
    page.locator("#driver").get_by_text("Random").click()
    expect(page.locator("#driver-text")).to_have_text("(random autopilot)")
    page.keyboard.press("ArrowLeft", delay=100)
    expect(page.locator("#driver-text")).to_have_text("")
    expect(page.locator('input[value="off"]')).to_be_checked()


def test_the_speed_can_be_changed(page: Page) -> None:
    page.keyboard.press("-")
    expect(page.locator("#rate-text")).to_have_text("29 fps")


def test_another_task_can_be_chosen_and_is_kept_in_the_address(page: Page) -> None:
    page.locator("#task").select_option("toy-fall")
    page.wait_for_url("**/#toy-fall")
    page.reload()
    wait_for_dream(page)
    assert page.locator("#task").input_value() == "toy-fall"


def test_an_unknown_task_is_explained(browser: Browser, url: str) -> None:
    page = browser.new_page()
    page.goto(f"{url}#toy-pain")
    expect(page.locator("#banner")).to_be_visible()
    expect(page.locator("#banner-text")).to_contain_text(
        "Unknown task 'toy-pain'. Did you mean 'toy-paint'?"
    )
    page.locator("#banner-close").click()
    expect(page.locator("#banner")).to_be_hidden()
    page.close()


def test_two_tabs_do_not_disturb_each_other(
    page: Page, browser: Browser, url: str, complaints: list[str]
) -> None:
    alone = play_from_same_start(page, "ArrowRight")
    other = browser.new_page()
    watch(other, complaints)
    other.goto(f"{url}#toy-fall")
    wait_for_dream(other)
    other.keyboard.down("ArrowLeft")
    assert fact(other, "seed") != fact(page, "seed")
    together = play_from_same_start(page, "ArrowRight")
    assert together == alone
    assert page.locator("#task").input_value() == "toy-paint"
    expect(other.locator(".lane output").first).to_have_text("-1.00")
    other.close()
    assert complaints == []


def test_a_full_server_is_explained(browser: Browser, url: str) -> None:
    pages = [browser.new_page() for _ in range(NUM_SEATS + 1)]
    for page in pages:
        page.goto(url)
        expect(page.locator("#connection")).not_to_have_text("connecting")
    expect(pages[-1].locator("#banner-text")).to_contain_text(
        f"The server is busy: {NUM_SEATS} of {NUM_SEATS} sessions are running."
    )
    expect(pages[-1].locator("#connection")).to_have_text("server busy")
    for page in pages:
        page.close()


@pytest.fixture
def lost_page(browser: Browser) -> Iterator[tuple[Page, int]]:
    """A page whose server has gone, and the port where it was."""
    page = browser.new_page()
    with running_server(make_small_app()) as url:
        page.goto(url)
        wait_for_dream(page)
    yield page, urlsplit(url).port or 0
    page.close()


def make_small_app():
    config = ServeConfig(session=SessionConfig(rate_hz=30.0, context_frames=2))
    return make_app({"shift": make_shift_show()}, config)


def test_a_lost_connection_is_explained_and_comes_back(lost_page: tuple[Page, int]) -> None:
    page, port = lost_page
    expect(page.locator("#banner-text")).to_contain_text("The connection to the server was lost.")
    expect(page.locator("#connection")).not_to_have_text("connected")
    with running_server(make_small_app(), port):
        page.locator("#banner-action").click()
        expect(page.locator("#connection")).to_have_text("connected")
        expect(page.locator("#banner")).to_be_hidden()
        page.close()


def test_a_phone_sees_everything_without_scrolling_sideways(browser: Browser, url: str) -> None:
    page = browser.new_page(viewport={"width": 390, "height": 844})
    page.goto(url)
    wait_for_dream(page)
    widths = page.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert widths[0] <= widths[1]
    for name in ("#real", "#dream", "#pause", "#lanes"):
        expect(page.locator(name)).to_be_visible()
    page.close()


def test_the_port_of_a_running_server_is_refused_with_a_remedy(url: str) -> None:
    from reverie.core.errors import PortInUseError
    from reverie.serve.server import bind

    port = urlsplit(url).port or 0
    with pytest.raises(PortInUseError, match=f"--port {port + 1}"), bind("127.0.0.1", port):
        pass
    assert socket.create_connection(("127.0.0.1", port), timeout=5).close() is None
