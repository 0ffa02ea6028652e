"""Several processes that train one student: how they find each other, what they tell each other, and how they end."""
