@wire
Feature: Finding drift
  Whether the storage looks as the log says is looked at again and again. What is
  otherwise is an event that names the last one which explains what was expected.
  It is told once, it clears itself, and only what is safe is done about it.

  Rule: What is otherwise is found and explained

    Scenario: Storage is lost
      Given an available volume "db"
      When the storage of "db" is lost
      Then "db" differs by "object_missing", for "volume.creation_finished" says so

    Scenario: Storage comes back that was deleted
      Given an available volume "db"
      And "db" was deleted but its storage came back
      Then "db" differs by "object_unexplained", for "volume.deleted" says so

    Scenario: Storage is there that nobody asked for
      When somebody leaves storage of their own beside the volumes
      Then that differs by "object_unexplained", and nothing says why

    Scenario: Something lies with a volume that is not part of it
      Given an available volume "db"
      When somebody leaves a file with the storage of "db"
      Then that differs by "object_unexplained", and nothing says why

    Scenario: Storage has shrunk
      Given an available volume "db" of 2 GiB
      When the storage of "db" shrinks to 1 GiB
      Then "db" differs by "size", for "volume.creation_finished" says so

    Scenario: Storage was made for something else
      Given an available volume "db"
      When the storage of "db" says that it was made at another time
      Then "db" differs by "origin", for "volume.creation_finished" says so

    Scenario: Storage says no more what it is
      Given an available volume "db"
      When the storage of "db" says no more what made it
      Then "db" differs by "tags", for "volume.creation_finished" says so

    Scenario: A snapshot is of another volume
      Given an available volume "db"
      And a snapshot "monday" of "db"
      When the storage of snapshot "monday" says that it is of another volume
      Then snapshot "monday" differs by "origin", for "snapshot.creation_finished" says so

    Scenario: Somebody uses what nobody gave them
      Given an available volume "db"
      When somebody opens the storage of "db"
      Then "db" differs by "session_without_attachment", for "volume.creation_finished" says so

  Rule: What is as it was is found no more

    Scenario: Lost storage is brought back
      Given an available volume "db"
      And the storage of "db" was lost and found to differ by "object_missing"
      When the storage of "db" is brought back
      Then "db" differs no more
      And it was found and cleared once

  Rule: Who looks at a plan changes nothing

    Scenario: It tells what is safe and what is not
      Given an available volume "db" of 2 GiB
      And the storage of "db" had shrunk to 1 GiB
      When it is asked what is to be done about backend "files"
      Then it is to "grow" "db"
      And the storage of "db" still has 1 GiB

  Rule: What is safe is done when somebody asks for it

    Scenario: Shrunk storage grows again
      Given an available volume "db" of 2 GiB
      And the storage of "db" had shrunk to 1 GiB
      When backend "files" is repaired
      Then "db" differs no more
      And the log of backend "files" has that "db" was repaired

    Scenario: Storage says again what it is
      Given an available volume "db"
      And the storage of "db" had lost what it says
      When backend "files" is repaired
      Then "db" differs no more

    Scenario: What is left of a deleted volume goes
      Given an available volume "db"
      And "db" was deleted but its storage came back
      And "db" was found to differ by "object_unexplained"
      When backend "files" is repaired
      Then "db" differs no more
      And the storage of "db" is gone

  Rule: What is not safe is left to a person

    Scenario: What nothing proves ours and dead stays
      Given somebody has left storage of their own beside the volumes
      When backend "files" is repaired
      Then it is left where it is
