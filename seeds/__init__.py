"""The offline default: drawn panel scenes and two tiny models of our own."""
