"""Error pages are read with the configuration."""

from __future__ import annotations

import os

import pytest
from pydantic import TypeAdapter

from h2gate.config.pages import LARGEST_BYTES, Page, PageFile


def test_a_page_is_read_when_the_configuration_is(files):
    path = files.write("errors/down.html", "<p>down")
    config = files.load(
        """\
        listeners: [{address: "127.0.0.1:8080"}]
        routes: [{respond: {status: 200}}]
        error_pages: [{status: [502], html: errors/down.html}]
        """
    )
    path.unlink()
    (page,) = config.error_pages
    assert (page.html.content, str(page.html)) == (b"<p>down", str(path))


def test_a_page_that_is_not_there_or_too_large_is_refused(files):
    files.write("large.txt", b"x" * (LARGEST_BYTES + 1))
    problems = files.problems(
        """\
        listeners: [{address: "127.0.0.1:8080"}]
        routes: [{respond: {status: 200}}]
        error_pages: [{html: missing.html, text: large.txt}]
        """
    )
    assert len(problems) == 2
    assert "missing.html is not there" in problems[0]
    assert "large.txt is larger than 1 MiB" in problems[1]


def test_a_page_of_the_largest_size_is_taken(tmp_path):
    path = tmp_path / "page"
    path.write_bytes(b"x" * LARGEST_BYTES)
    page = TypeAdapter(PageFile).validate_python(path)
    assert len(page.content) == LARGEST_BYTES
    assert TypeAdapter(PageFile).validate_python(page) is page
    assert page == Page(path, b"x" * LARGEST_BYTES)


def test_a_page_that_breaks_while_it_is_read_is_refused():
    # /proc/self/mem is a file that opens, and whose first byte cannot be read.
    with pytest.raises(ValueError, match="cannot read /proc/self/mem: " + os.strerror(5)):
        TypeAdapter(PageFile).validate_python("/proc/self/mem")
