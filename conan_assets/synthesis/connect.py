"""The client that the settings ask for."""

from conan_assets.synthesis.batch import BatchClient
from conan_assets.synthesis.chat import ChatClient
from conan_assets.synthesis.client import Client
from conan_assets.synthesis.journal import Journal
from conan_assets.synthesis.settings import OpenAIGeneration


def open_client(settings: OpenAIGeneration, journal: Journal) -> Client:
    """Return a client of the mode in ``settings``; raise EndpointError when neither key nor endpoint is set."""
    return BatchClient(settings, journal) if settings.mode == "batch" else ChatClient(settings, journal)
