"""From a folder of documents to a profile that fits them and this machine."""
