"""The addresses that the application answers, one module a subject. Each makes its blueprint from what it needs."""
