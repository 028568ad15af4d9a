"""Which way of training helps on a programme's own data: several ways, equal budgets, several seeds, intervals."""
