"""What the words of sd-webui-controlnet mean: the units of a request (`reading`), the names they use
(`networks`, `preprocessors`, `control_types`), what becomes of them (`deciding`, `making`), and what is told
of them afterwards (`telling`, `maps`). Runs no network and knows no socket."""
