"""What decides: facts and manifests in, a decision out. Nothing here reads or writes anything, or knows of Django.

facts, names    what the database says, and what each migration stands for, in one vocabulary
world           both, put together for one decision
search          finds the phases from what is applied to what is wanted, and reasons.py the words where there are none
plan            asks them, and says what one build's image is to do
acceptance      whether a build may have this database at all
interruption    what to make of migrations that were begun and not seen to end
standing        how the database stands to a build
"""
