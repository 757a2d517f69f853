@wire
Feature: Attaching a volume
  A volume serves one holder at a time unless it was made to be shared, so that
  two never write the same blocks by accident. How it may be used is decided when
  it is promised, and kept.

  Rule: A holder reserves, connects, and says when it uses the volume

    @lvm
    Scenario: It has connected
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-1" connects "db"
      Then "db" is attaching
      And the caller is told where "db" is

    @lvm
    Scenario: It uses the volume
      Given an available volume "db"
      And "web-1" is attaching "db"
      When "web-1" reports that it uses "db"
      Then "db" is in-use
      And the attachment of "web-1" to "db" is attached

    Scenario: It reserves and connects at once
      Given an available volume "db"
      When "web-1" reserves "db" from "node-1" at once
      Then "db" is attaching
      And the caller is told where "db" is

  Rule: Saying so again adds nothing

    Scenario: It says twice that it uses the volume
      Given an available volume "db"
      And "web-1" has attached "db"
      When "web-1" reports that it uses "db"
      Then the request succeeds
      And nothing is recorded

    Scenario: It says so before it has connected
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-1" reports that it uses "db"
      Then the request is refused as refused
      And "db" is reserved

  Rule: A volume can be attached in one step

    Scenario: It was promised to whoever comes
      Given an available volume "db"
      And "db" was promised to whoever comes
      When "web-1" is attached to "db" as "/dev/vdb"
      Then "db" is in-use
      And "web-1" finds "db" as "/dev/vdb"

    Scenario: It was promised to nobody
      Given an available volume "db"
      When "web-1" is attached to "db"
      Then "db" is in-use

    Scenario: It was reserved by name
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-1" is attached to "db"
      Then "db" is in-use
      And "db" has 1 attachment

  Rule: The same instance is attached once

    Scenario: It is attached again
      Given an available volume "db"
      And "web-1" was attached to "db"
      When "web-1" is attached to "db"
      Then the request succeeds
      And nothing is recorded

  Rule: An ordinary volume is attached to one

    Scenario: Another instance
      Given an available volume "db"
      And "web-1" was attached to "db"
      When "web-2" is attached to "db"
      Then the request is refused with "cannot attach while in-use, not multiattach"
      And nothing is recorded

    Scenario: Another instance takes what was reserved by name
      Given an available volume "db"
      And "web-1" has reserved "db"
      When "web-2" is attached to "db"
      Then the request is refused with "cannot attach while reserved, not multiattach"


    Scenario: Two instances in the same moment
      When 10 times, two instances are attached to the same volume at once
      Then each time one of the two wins and the other is refused
      And each time one of the two holds it

  Rule: A read-only volume is only read

    Scenario: Somebody wants to write it
      Given an available read-only volume "books"
      When "web-1" is attached to "books" for writing
      Then the request is refused with "not writable"
      And "books" is available

    Scenario: Somebody reserves it to write it
      Given an available read-only volume "books"
      When "web-1" reserves "books" for writing
      Then the request is refused with "not writable"
      And nothing is recorded

    Scenario: Somebody does not say what for
      Given an available read-only volume "books"
      When "web-1" is attached to "books"
      Then "web-1" may only read "books"

  Rule: Nobody is given a way to write a read-only volume

    Scenario: Somebody connects it to write it
      Given an available read-only volume "books"
      And "web-1" has reserved "books"
      When "web-1" connects "books" on "node-1" for writing
      Then the request is refused with "not writable"
      And "books" is reserved

    Scenario: A host is given a way to write it
      Given an available read-only volume "books"
      When "node-1" is given a way to "books" for writing
      Then the request is refused with "not writable"
      And nothing is recorded

  Rule: A promise says what for, and is kept

    Scenario: Promised for writing, attached for reading
      Given an available volume "db"
      And "web-1" has reserved "db" for writing
      When "web-1" is attached to "db" for reading
      Then the request is refused with "not attached as rw"
      And "db" is reserved

    Scenario: Promised for reading, attached for writing
      Given an available volume "db"
      And "web-1" has reserved "db" for reading
      When "web-1" is attached to "db" for writing
      Then the request is refused with "not attached as ro"

  Rule: What a holder is told follows the promise

    Scenario: Promised for reading, connected for writing
      Given an available volume "db"
      And "web-1" has reserved "db" for reading
      When "web-1" connects "db" on "node-1" for writing
      Then "web-1" may only read "db"

    Scenario: Promised for reading
      Given an available volume "db"
      And "web-1" has reserved "db" for reading
      When "web-1" connects "db"
      Then "web-1" may only read "db"

  Rule: An attempt that is refused leaves the promise as it was

    Scenario: It can be attached otherwise
      Given an available read-only volume "books"
      And "books" was promised to whoever comes
      And "web-1" was refused to write "books"
      When "web-1" is attached to "books" for reading
      Then "books" is in-use

    Scenario: It can be taken back
      Given an available read-only volume "books"
      And "books" was promised to whoever comes
      And "web-1" was refused to write "books"
      When the promise of "books" is taken back
      Then "books" is available

  Rule: Who attaches says who it is

    Scenario: Nobody in particular
      Given an available volume "db"
      When nobody in particular is attached to "db"
      Then the request is refused as invalid
      And nothing is recorded

    Scenario Outline: Words that are refused
      Given an available volume "db"
      When "web-1" is attached to "db", its <what> being <value>
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | what     | value         |
        | instance | ""            |
        | instance | 256 times "x" |
        | instance | "a\tb"        |
        | host     | 5             |
        | path     | ""            |
        | path     | "a\u0000b"    |
        | purpose  | "rwx"         |
