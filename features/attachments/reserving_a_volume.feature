@wire
Feature: Reserving a volume
  A volume is promised before anything is done on a host, so that two instances
  never prepare to write the same blocks. A promise costs no work to take back.

  Rule: An ordinary volume is promised to one

    Scenario: The first instance reserves it
      Given an available volume "db"
      When "web-1" reserves "db"
      Then "db" is reserved
      And the attachment of "web-1" to "db" is reserved

    Scenario: A host reserves it
      Given an available volume "db"
      When "node-1" reserves "db"
      Then "db" is reserved

    Scenario: A second instance is refused
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-2" reserves "db"
      Then the request is refused with "cannot reserve while reserved, not multiattach"
      And nothing is recorded

  Rule: An instance on its way to another host holds the volume twice

    Scenario: The same instance reserves it once more
      Given an available volume "db"
      And "web-1" has attached "db"
      When "web-1" reserves "db" once more
      Then "db" is in-use
      And "db" has 2 attachments

    Scenario: It lets go where it was
      Given an available volume "db"
      And "web-1" has attached "db"
      And "web-1" has reserved "db" once more
      When "web-1" lets go of "db"
      Then "db" is reserved

  Rule: Of two who ask in the same moment one wins

    Scenario: Two instances reserve it
      When 10 times, two instances reserve the same volume at once
      Then each time one of the two wins and the other is refused
      And each time one of the two holds it

  Rule: A reservation is taken back without asking the storage

    Scenario: The holder lets go of what it never connected
      Given an available volume "db" on backend "faulty"
      And "web-1" has reserved "db"
      When "web-1" lets go of "db"
      Then "db" is available
      And backend "faulty" was not asked to disconnect "db"

  Rule: A volume can be promised to whoever comes

    Scenario: The promise is made
      Given an available volume "db"
      When "db" is promised to whoever comes
      Then "db" is attaching

    Scenario: It is made once
      Given an available volume "db"
      And "db" was promised to whoever comes
      When "db" is promised to whoever comes
      Then the request is refused with "cannot reserve while attaching, not multiattach"

    Scenario: It is taken back
      Given an available volume "db"
      And "db" was promised to whoever comes
      When the promise of "db" is taken back
      Then "db" is available

  Rule: Taking back a promise leaves the holders alone

    Scenario: Nothing was promised
      Given an available volume "db"
      When the promise of "db" is taken back
      Then the request succeeds
      And nothing is recorded

    Scenario: Others hold it
      Given an available multiattach volume "scratch"
      And "web-1" has attached "scratch"
      And "scratch" was promised to whoever comes
      When the promise of "scratch" is taken back
      Then "scratch" is in-use

    Scenario: It was promised to somebody by name
      Given an available volume "db"
      And "web-1" has reserved "db"
      When the promise of "db" is taken back
      Then "db" is reserved

  Rule: Only a volume that is there can be promised

    Scenario Outline: It is not at rest
      Given a volume "db" that is <status>
      When "web-1" reserves "db"
      Then the request is refused with "cannot reserve while <status>"
      And nothing is recorded

      Examples:
        | status          |
        | creating        |
        | extending       |
        | deleting        |
        | deleted         |
        | error           |
        | error_extending |
        | error_deleting  |

    Scenario: It never was
      When "web-1" reserves a volume that never was
      Then the request is refused as not-found
      And nothing is recorded

  Rule: Who reserves says who it is

    Scenario: Nobody in particular
      Given an available volume "db"
      When nobody in particular reserves "db"
      Then the request is refused as invalid
      And nothing is recorded
