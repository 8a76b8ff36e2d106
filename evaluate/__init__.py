"""One checkpoint in, measurements out: multiple-choice tasks and language-model loss, each distinct token once."""
