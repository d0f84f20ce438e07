; A room made for tests: everything that is peculiar about ALFWorld's rules can happen in it.
; desk 1 and shelf 2 share a place; the egg lies in two receptacles; the apple is in a closed drawer.
(define (problem quirks)
(:domain alfred)
(:objects
agent1 - agent
loc_bar_0 loc_bar_1 loc_bar_2 loc_bar_3 loc_bar_4 loc_bar_5 loc_bar_6 - location
Desk_bar_a Shelf_bar_a Shelf_bar_b Drawer_bar_a Drawer_bar_b Fridge_bar_a Microwave_bar_a Sink_bar_a_bar_SinkBasin - receptacle
Mug_bar_a Mug_bar_b Knife_bar_a Apple_bar_a Bowl_bar_a Pen_bar_a Egg_bar_a DeskLamp_bar_a Mirror Chair - object
DeskType ShelfType DrawerType FridgeType MicrowaveType SinkBasinType - rtype
MugType KnifeType ButterKnifeType AppleType BowlType PenType EggType DeskLampType - otype
)
(:init
(atLocation agent1 loc_bar_0)
(receptacleType Desk_bar_a DeskType) (receptacleAtLocation Desk_bar_a loc_bar_1)
(receptacleType Shelf_bar_a ShelfType) (receptacleAtLocation Shelf_bar_a loc_bar_1)
(receptacleType Shelf_bar_b ShelfType) (receptacleAtLocation Shelf_bar_b loc_bar_2)
(receptacleType Drawer_bar_a DrawerType) (receptacleAtLocation Drawer_bar_a loc_bar_3) (openable Drawer_bar_a)
(receptacleType Drawer_bar_b DrawerType) (receptacleAtLocation Drawer_bar_b loc_bar_3) (openable Drawer_bar_b)
(receptacleType Fridge_bar_a FridgeType) (receptacleAtLocation Fridge_bar_a loc_bar_4) (openable Fridge_bar_a)
(receptacleType Microwave_bar_a MicrowaveType) (receptacleAtLocation Microwave_bar_a loc_bar_5) (openable Microwave_bar_a)
(receptacleType Sink_bar_a_bar_SinkBasin SinkBasinType) (receptacleAtLocation Sink_bar_a_bar_SinkBasin loc_bar_6)
(objectType Mug_bar_a MugType) (pickupable Mug_bar_a) (cleanable Mug_bar_a) (heatable Mug_bar_a) (coolable Mug_bar_a)
(inReceptacle Mug_bar_a Desk_bar_a) (objectAtLocation Mug_bar_a loc_bar_1)
(objectType Mug_bar_b MugType) (pickupable Mug_bar_b) (cleanable Mug_bar_b) (heatable Mug_bar_b) (coolable Mug_bar_b) (isCool Mug_bar_b)
(inReceptacle Mug_bar_b Fridge_bar_a) (objectAtLocation Mug_bar_b loc_bar_4)
(objectType Knife_bar_a KnifeType) (pickupable Knife_bar_a) (cleanable Knife_bar_a)
(inReceptacle Knife_bar_a Desk_bar_a) (objectAtLocation Knife_bar_a loc_bar_1)
(objectType Apple_bar_a AppleType) (pickupable Apple_bar_a) (cleanable Apple_bar_a) (heatable Apple_bar_a) (coolable Apple_bar_a) (sliceable Apple_bar_a)
(inReceptacle Apple_bar_a Drawer_bar_a) (objectAtLocation Apple_bar_a loc_bar_3)
(objectType Bowl_bar_a BowlType) (pickupable Bowl_bar_a) (isReceptacleObject Bowl_bar_a)
(inReceptacle Bowl_bar_a Desk_bar_a) (objectAtLocation Bowl_bar_a loc_bar_1)
(objectType Pen_bar_a PenType) (pickupable Pen_bar_a) (inReceptacleObject Pen_bar_a Bowl_bar_a)
(inReceptacle Pen_bar_a Desk_bar_a) (objectAtLocation Pen_bar_a loc_bar_1)
(objectType Egg_bar_a EggType) (pickupable Egg_bar_a) (heatable Egg_bar_a)
(inReceptacle Egg_bar_a Desk_bar_a) (inReceptacle Egg_bar_a Shelf_bar_b) (objectAtLocation Egg_bar_a loc_bar_1)
(objectType DeskLamp_bar_a DeskLampType) (toggleable DeskLamp_bar_a)
(inReceptacle DeskLamp_bar_a Desk_bar_a) (objectAtLocation DeskLamp_bar_a loc_bar_1)
(canContain DeskType MugType) (canContain DeskType KnifeType) (canContain DeskType BowlType) (canContain DeskType PenType) (canContain DeskType EggType) (canContain DeskType AppleType)
(canContain ShelfType MugType) (canContain ShelfType KnifeType) (canContain ShelfType BowlType) (canContain ShelfType EggType) (canContain ShelfType AppleType)
(canContain DrawerType KnifeType) (canContain DrawerType AppleType) (canContain DrawerType MugType)
(canContain FridgeType MugType) (canContain FridgeType AppleType) (canContain MicrowaveType MugType) (canContain SinkBasinType MugType) (canContain SinkBasinType KnifeType)
)
(:goal
(and (exists (?r - receptacle) (exists (?o - object) (and (inReceptacle ?o ?r) (objectType ?o MugType) (receptacleType ?r ShelfType)))))
))
