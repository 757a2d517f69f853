@wire
Feature: Listing volumes
  Many volumes are read from a copy made for reading, in the order of their
  creation. A caller who says what it has just done is not shown an older copy.

  Rule: A caller finds what it has just made

    Scenario: The volumes of a project
      Given available volumes "db, web, logs" in the project "shop"
      When the volumes of the project "shop" are listed
      Then "db, web, logs" are found

    Scenario: As of a moment that has not come
      Given an available volume "db"
      When volumes are listed as of a moment that has not come
      Then the request is refused as unavailable

  Rule: Filters leave out what is not meant

    Scenario: By status
      Given available volumes "db, web" in the project "shop"
      And "web-1" has reserved "web"
      When the reserved volumes of the project "shop" are listed
      Then "web" is found

    Scenario: By name
      Given available volumes "db, web" in the project "shop"
      When the volumes of the project "shop" called "db" are listed
      Then "db" is found

    Scenario: By a status that no volume ever has
      When volumes are listed whose status is "availible"
      Then the request is refused as invalid with "available"

  Rule: Where nothing is meant, nothing is found

    Scenario: On a backend that has none
      Given available volumes "db, web" in the project "shop"
      When the volumes of the project "shop" on "spare" are listed
      Then nothing is found

    Scenario: In a project that has none
      Given available volumes "db, web" in the project "shop"
      When the volumes of the project "nobody's" are listed
      Then nothing is found

  Rule: Deleted volumes are listed only for those who ask for them

    Scenario: Nobody asks for them
      Given available volumes "db, web" in the project "shop"
      And "db" was deleted
      When the volumes of the project "shop" are listed
      Then "web" is found

    Scenario: Somebody asks for them
      Given available volumes "db, web" in the project "shop"
      And "db" was deleted
      When the deleted volumes of the project "shop" are listed
      Then "db" is found

  Rule: Long lists come in pages

    Scenario: The last page is shorter
      Given available volumes "a, b, c, d, e" in the project "shop"
      When the volumes of the project "shop" are listed 2 at a time
      Then "a, b, c, d, e" are found
      And they came in pages of 2, 2, 1

    Scenario: The last page is full
      Given available volumes "a, b, c, d" in the project "shop"
      When the volumes of the project "shop" are listed 2 at a time
      Then "a, b, c, d" are found
      And they came in pages of 2, 2

  Rule: Pages that make no sense are refused

    Scenario Outline: A page of a size that makes no sense
      When volumes are listed <count> at a time
      Then the request is refused as invalid
      And nothing is recorded

      Examples:
        | count |
        | 0     |
        | 1001  |
        | "5"   |
        | 2.0   |

    Scenario: A place that none of our pages ended at
      When volumes are listed from a place that never was
      Then the request is refused as invalid
      And nothing is recorded
