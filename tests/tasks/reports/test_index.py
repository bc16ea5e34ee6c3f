"""The page of all reports names nights and evaluations, with what the states of a night are."""

import re

from humwatch.storage.records import PublishedSummary
from humwatch.tasks.reports.report_index import index_page

NIGHT = PublishedSummary.model_validate({
    "report_id": "night-2026-01-02-ab", "kind": "night", "night": "2026-01-02", "title": "<b>", "accepted": 7,
    "rejected": 1, "created_at": "2026-01-03T02:30:00+00:00", "degraded": True,
    "machines": {"alarm": 2, "attention": 0, "silent": 1},
})  # fmt: skip
EVALUATION = PublishedSummary.model_validate({
    "report_id": "evaluation-cd", "kind": "evaluation", "title": "Humwatch", "accepted": 5, "rejected": 0,
    "created_at": "2026-01-01T02:30:00+00:00", "degraded": False,
})  # fmt: skip


def rows(page):
    cells = [re.split(r"<t[dh][^>]*>", row)[1:] for row in page.partition("<tbody>")[2].split("<tr>")[1:]]
    return [[re.sub(r"<[^>]+>", "", cell).strip() for cell in row] for row in cells]


def test_nights_and_evaluations_are_told_apart_in_the_order_given():
    page = index_page([NIGHT, EVALUATION])
    assert rows(page) == [
        ["Night of 2026-01-02", "2026-01-03 02:30", "&lt;b&gt;", "2", "0", "1", "7", "1", "degraded"],
        ["Evaluation", "2026-01-01 02:30", "Humwatch", *["\N{EN DASH}"] * 3, "5", "0", "complete"],
    ]
    assert re.findall(r'href="([^"]+/index.html)"', page) == [
        "night-2026-01-02-ab/index.html",
        "evaluation-cd/index.html",
    ]


def test_without_reports_there_is_a_page():
    assert rows(index_page([])) == []


def test_titles_are_text_and_never_markup():
    hostile = {"report_id": "<img src=x>", "title": "<script>alert('1')</script> & \"more\""}
    page = index_page([EVALUATION.model_copy(update=hostile)])
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt; &amp; &#34;more&#34;" in page
