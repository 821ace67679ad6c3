"""How fast and how wrongly the verdict engine, static rules and Kayenta's judge roll back."""
