"""A key for every server."""

from conan_assets_tests.llm.conftest import environment as environment
