@wire
Feature: Deleting a group
  Before any member goes, all of them are looked at: one that is in use keeps all of
  them, with everything on them.

  Rule: An empty group goes at once

    Scenario: It has no members
      Given a group "app"
      When the group "app" is deleted
      Then the group "app" is deleted

    Scenario: It is deleted again
      Given a group "app"
      And the group "app" was deleted
      When the group "app" is deleted
      Then the request succeeds
      And nothing is recorded

  Rule: Volumes go with it only if that is said

    Scenario: It is not said
      Given a group "app" of "db"
      When the group "app" is deleted
      Then the request is refused with "not delete_volumes given"
      And nothing is recorded

    @lvm
    Scenario: It is said
      Given a group "app" of "db, web"
      When the group "app" is deleted with its volumes
      Then the group "app" is deleted
      And all of "db, web" are deleted
      And "db" has no storage
      And "web" has no storage

  Rule: One that is in use keeps all of them

    Scenario: Somebody holds a member
      Given a group "app" of "db, web"
      And "web-1" has attached "web"
      When the group "app" is deleted with its volumes
      Then it is refused because of "web"
      And nothing is recorded

    @lvm
    Scenario: A process has the last one open
      Given available volumes "cache, db, web" that hold "orders"
      And a group "app" of "cache, db, web"
      And a process has "web" open
      When the group "app" is deleted with its volumes
      Then the group "app" is available because "is in use"
      And all of "cache, db, web" are available
      And "cache" holds "orders"
      And "db" holds "orders"

    Scenario: A member has a snapshot of its own
      Given a group "app" of "db, web"
      And a snapshot "monday" of "web"
      When the group "app" is deleted with its volumes
      Then it is refused because of "monday"
      And nothing is recorded

    Scenario: The group has a snapshot
      Given a group "app" of "db, web"
      And a group snapshot "night" of "app"
      When the group "app" is deleted with its volumes
      Then it is refused because of "night"
      And nothing is recorded

  Rule: What failed can be asked for again

    Scenario: A member could not be removed
      Given a group "app" of "db" on backend "faulty"
      And backend "faulty" fails to remove volumes
      When the group "app" is deleted with its volumes
      Then the group "app" is error because "the storage does not answer; see its cabling"
      And "db" is error_deleting

    Scenario: It is asked for again
      Given a group "app" of "db" on backend "faulty"
      And the group "app" could not be deleted
      When the group "app" is deleted with its volumes
      Then the group "app" is deleted
      And "db" is deleted

  Rule: A crash in the middle does not matter

    Scenario: Everything is killed while a member is being removed
      Given a service that can be killed
      And a group "app" of "db, web" on backend "faulty"
      And the group "app" is being deleted with its volumes
      When the service is killed, backend "faulty" mended, and started again
      Then the group "app" is deleted
      And all of "db, web" are deleted
