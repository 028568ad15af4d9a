"""How good a checkpoint is: suites of mteb tasks, reports with intervals, the leaderboard and the release."""
