@wire
Feature: Refusing a message
  A message that cannot be what was meant is refused before anything is decided,
  and says what is wrong with it. Nothing of it is left behind.

  Rule: A message is one object

    Scenario Outline: It is something else
      When a volume is asked for with <what>
      Then the request is refused as malformed
      And nothing is recorded

      Examples:
        | what                 |
        | nothing but a number |
        | a list               |
        | half an object       |
        | no UTF-8             |
        | not a number         |

    Scenario: It is too large
      When a volume is asked for in more words than can be read at once
      Then the request is refused as too-large
      And nothing is recorded

    Scenario: It is empty
      When volumes are listed with nothing said at all
      Then the request succeeds
      And nothing is recorded

  Rule: What is wrong with a message is said before what is wrong with the state

    Scenario: Both are wrong
      Given a deleted volume "db"
      When "db" is extended to "abc" GiB
      Then the request is refused as invalid

  Rule: What is said beside a message is bounded as well

    Scenario Outline: It is refused
      Given the caller gives <value> for its <what>
      When a volume "db" of 1 GiB is created
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | what     | value        |
        | name     | 256 times x  |
        | reason   | 1025 times x |
        | patience | 301          |
        | patience | -1           |
        | patience | soon         |
        | patience | nan          |

    Scenario Outline: It just fits
      Given the caller gives <value> for its <what>
      When a volume "db" of 1 GiB is created
      Then the request succeeds

      Examples:
        | what     | value        |
        | name     | 255 times x  |
        | reason   | 1024 times x |
        | patience | 300          |
        | patience | 0            |
