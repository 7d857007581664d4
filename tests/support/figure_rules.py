"""What every figure keeps to, checked on a drawn figure: one style, readable at the size at which it is printed."""

import colorsys

from matplotlib.colors import to_rgb
from matplotlib.text import Text

from analysis import style


def is_grey(colour: object) -> bool:
    return colorsys.rgb_to_hsv(*to_rgb(colour))[1] < 0.1


def broken(drawn: style.Drawn) -> list[str]:
    """The rules that a figure breaks, in words."""
    figure, found = drawn.figure, []
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    width, height = figure.get_size_inches() * figure.dpi
    if figure.get_figwidth() not in (style.COLUMN, style.PAGE):
        found.append(f"is {figure.get_figwidth()} inches wide, neither a column nor a page")
    shown = [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible()]
    texts = [t for t in shown if t.axes is None or t.axes.get_visible()]
    found += [f"{t.get_text()!r} has {t.get_fontsize():g} points" for t in texts if t.get_fontsize() < style.LEAST]
    ticks = _ticks(figure)
    for text in texts:
        if id(text) in ticks:
            continue
        box = text.get_window_extent(renderer)
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1:
            found.append(f"{text.get_text()!r} leaves the figure")
    named = {text.get_gid() for text in figure.texts}
    found += [f"has no {name} inside" for name in ("title", "caption") if name not in named]
    caption = " ".join(text.get_text() for text in figure.texts if text.get_gid() == "caption")
    if "interval" not in caption:
        found.append("does not say in its caption what its intervals are, or that it has none")
    colours = {to_rgb(line.get_color()) for axes in figure.axes for line in axes.lines if not is_grey(line.get_color())}
    if len(colours) > 8:
        found.append(f"has {len(colours)} colours")
    inside = [axes.bbox for axes in figure.axes if axes.get_visible()]
    for legend in [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]:
        if any(legend.get_window_extent(renderer).overlaps(box) for box in inside):
            found.append("has a legend on its data")
    if not drawn.says.strip().endswith("."):
        found.append("has no sentence")
    return found


def _ticks(figure) -> set[int]:
    """The labels of ticks, which matplotlib keeps outside an axis too and does not draw there; they know no axes."""
    axes = [axis for one in figure.axes for axis in (one.xaxis, one.yaxis)]
    ticks = [tick for axis in axes for tick in (*axis.majorTicks, *axis.minorTicks)]
    return {id(label) for tick in ticks for label in (tick.label1, tick.label2)}


def from_zero(axes) -> bool:
    """Whether a panel's y axis begins at 0."""
    return axes.get_ylim()[0] == 0
