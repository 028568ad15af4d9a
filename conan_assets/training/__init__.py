"""The trainer: Conan-embedding's balanced tasks and dynamic negatives, exact across processes, in little memory."""
