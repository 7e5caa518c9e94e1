"""The page: search, history, list, denoising; it loads nothing from other hosts."""

from __future__ import annotations

from typing import Any

import gradio as gr
import polars as pl

from sidiff.demo.render import STYLE, list_table, steps_table
from sidiff.serving import Recommender
from sidiff.serving.recommender import ListOptions

FOUND = 8
"""Largest number of titles that a search shows."""
FONTS = ["system-ui", "sans-serif"]


class Page:
    """The actions of the page; the history of each visitor stays in the browser.

    Attributes:
        recommender: of the bundle shown.
    """

    def __init__(self, recommender: Recommender) -> None:
        self.recommender = recommender

    def choices(self, ids: list[str]) -> list[tuple[str, str]]:
        """Titles and ids of items."""
        names = self.recommender.names
        titles = names.titles.gather(names.indices(ids)).to_list()
        return [(title or one, one) for one, title in zip(ids, titles, strict=True)]

    def search(self, text: str) -> Any:
        """The items with all words of the text in their title."""
        names = self.recommender.names
        frame = pl.DataFrame({"id": names.item_ids, "title": names.titles})
        lowered = pl.col("title").str.to_lowercase()
        for word in text.lower().split():
            frame = frame.filter(lowered.str.contains(word, literal=True))
        found = frame["id"].head(FOUND).to_list()
        label = f"{len(frame):,} items"
        return gr.update(choices=self.choices(found), value=[], label=label)

    def add(self, history: list[str], chosen: list[str]) -> tuple[list[str], Any, Any]:
        """Append the chosen items to the history."""
        history = [*history, *chosen]
        return history, self._shown(history), gr.update(value=[])

    def take_last(self, history: list[str]) -> tuple[list[str], Any]:
        """Remove the last item of the history."""
        return history[:-1], self._shown(history[:-1])

    def recommend(
        self, history: list[str], k: int, decoder: str, exclude_seen: bool
    ) -> tuple[str, Any, str]:
        """The list, the choice of its items, and the denoising of the first."""
        options = ListOptions(int(k), exclude_seen, decoder=decoder)
        (found,) = self.recommender.lists([history], options)
        ids = [item.item_id for item in found]
        first = ids[0] if ids else None
        picked = gr.update(choices=self.choices(ids), value=first)
        return list_table(found), picked, self.steps(history, first, decoder)

    def steps(self, history: list[str], item: str | None, decoder: str) -> str:
        """The denoising of an item as a table."""
        if item is None:
            return ""
        options = ListOptions(1, False, [item], decoder=decoder, explain=True)
        (found,) = self.recommender.lists([history], options)
        return steps_table(found[0], self.recommender.names)

    def _shown(self, history: list[str]) -> str:
        titles = [title for title, _ in self.choices(history)]
        return "\n".join(f"{n}. {title}" for n, title in enumerate(titles, 1))


def build(recommender: Recommender) -> gr.Blocks:
    """The layout of the page."""
    page = Page(recommender)
    dataset = recommender.about.get("dataset")
    with gr.Blocks(title="sidiff", analytics_enabled=False) as blocks:
        gr.Markdown(f"# sidiff on {dataset}: {len(recommender.names.item_ids):,} items")
        history = gr.State([])
        with gr.Row():
            with gr.Column(scale=1):
                words = gr.Textbox(label="Search titles", elem_id="words")
                found = gr.CheckboxGroup([], label="Items", elem_id="found")
                with gr.Row():
                    add = gr.Button("Add to history", elem_id="add")
                    back = gr.Button("Remove last")
                shown = gr.Textbox(
                    label="History, oldest first", lines=4, elem_id="history"
                )
                k = gr.Slider(1, 50, 10, step=1, label="Items to recommend")
                decoder = gr.Dropdown(
                    list(recommender.decoders),
                    value=recommender.decoder,
                    label="Decoder",
                )
                unseen = gr.Checkbox(value=True, label="Leave out items of the history")
                go = gr.Button("Recommend", variant="primary", elem_id="go")
            with gr.Column(scale=2):
                listed = gr.HTML(elem_id="list")
                picked = gr.Radio([], label="Watch the denoising of", elem_id="picked")
                steps = gr.HTML(elem_id="steps")
        settings = [history, k, decoder, unseen]
        shows = [listed, picked, steps]
        words.change(page.search, words, found)
        add.click(page.add, [history, found], [history, shown, found])
        back.click(page.take_last, history, [history, shown])
        go.click(page.recommend, settings, shows)
        picked.select(page.steps, [history, picked, decoder], steps)
        blocks.load(page.search, words, found)
    return blocks


def launch(recommender: Recommender, host: str, port: int) -> None:
    """Serve the page until the process ends."""
    theme = gr.themes.Default(font=FONTS, font_mono=["monospace"])
    build(recommender).launch(
        server_name=host,
        server_port=port,
        theme=theme,
        css=STYLE,
        share=False,
        footer_links=[],
    )
