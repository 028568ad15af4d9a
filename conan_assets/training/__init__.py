"""The trainer: Conan-embedding's balanced tasks and dynamic hard negatives, exact across processes, in little memory."""
