"""The Custom::Migration of service.yml: moves the database as release tasks, and holds no worker while they run.

CloudFormation's request starts the first task and returns. ECS's "Task State Change" event wakes the function when a
task has stopped, and a schedule wakes it every minute, for events that were lost. Whoever wakes it, it looks at what is
written down and at its own task, by name, and does what is next. So a doubled, late, lost, foreign or forged event
changes nothing. The image that applied a migration is the one that undoes it, so a request may need several tasks
("hops"):

    forward by the wanted build --0--> SUCCESS
        | 3: needs build X                  75: the same hop again; also where ECS had no room or could not pull
        v                                   4, 5, anything else: FAILED
    back by X --0--> forward by the wanted build again
        | 3: needs build Y --> back by Y, or forward by Y: it has files that the wanted build has only squashed

CloudFormation cancels a request and sends the next one at once: see the states of an operation at decision.py.
Standard library and boto3 only: these modules stand inline in bootstrap.yml, joined into one by
`python -m lastgood.deploy.inline`, which says what they must keep to for that.
"""
