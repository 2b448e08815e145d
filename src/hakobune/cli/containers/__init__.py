"""`hako container …` and the verbs at the top that mean containers; one file per verb or family of verbs."""
