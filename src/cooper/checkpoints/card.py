"""The card that a model has on the hub until its owner writes one."""

from __future__ import annotations

from cooper.model.unified import UnifiedModel


def model_card(name: str, model: UnifiedModel) -> str:
    """Markdown, with the metadata that the hub sorts by."""
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    maps = " and ".join(model.config.modalities) or "nothing"
    return f"""---
library_name: cooper-spatial
pipeline_tag: image-text-to-text
---

# {name}

A model of {millions:,.1f} M parameters that looks at a picture, draws what it needs to see ({maps}), thinks, and
answers. In the layout of `cooper-spatial`:

```python
from cooper import Cooper

model = Cooper.load("{name}")
print(model.ask("picture.png", "How far is the red ball from the blue box?").answer)
```

What it was trained on, how well it answers and what it cannot do has not been written down yet.
"""
