"""The Custom::Migration of service.yml: moves the database as release tasks, and holds no worker while they run.

CloudFormation's request starts the first task and returns. Each task that ends comes back as ECS's "Task State Change"
event, which starts the next one or answers CloudFormation. The image that applied a migration is the one that undoes
it, so a request may need several tasks ("hops"). What is known of one is its operation item in the release record.

    forward by the wanted build --0--> SUCCESS
        | 3: needs build X                  75: the same hop again
        v                                   4, 5, anything else: FAILED
    back by X --0--> forward by the wanted build again
        | 3: needs build Y --> back by Y, or forward by Y: it has files that the wanted build has only squashed

Events are delivered at least once: by the hop's number and the item's version a second delivery has no effect.
Standard library and boto3 only: these modules stand inline in bootstrap.yml, joined into one by
`python -m lastgood.deploy.inline`, which says what they must keep to for that.
"""
