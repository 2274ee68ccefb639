"""A small collection to measure the offline vectors with: what was said of 39 pictures, and questions."""
# ruff: noqa: E501 - a line is a description

# headline | category and subcategories | summary | objects | themes | emotions
DESCRIPTIONS = [
    "Astronaut portrait in orange spacesuit | portrait, person, space | A smiling woman astronaut in an orange NASA flight suit stands before a shuttle model and an American flag. | astronaut, spacesuit, helmet, flag, shuttle model | space exploration, achievement | pride, joy",
    "Cup of black coffee on a wooden table | food, drink, still life | A white porcelain cup of espresso with a spoon on its saucer, on a dark wooden table. | cup, saucer, spoon, coffee, table | breakfast, calm | calm, warm",
    "Tabby cat looking at the camera | animal, cat, pet | Close-up of a ginger tabby cat with green eyes resting on a blanket. | cat, whiskers, blanket | pets, home | curious",
    "Rocket launch at night | technology, space, launch | A rocket rises from its launch pad on a column of flame, smoke billowing over the coast. | rocket, launch pad, flame, smoke | space exploration | awe",
    "Retina scan of a human eye | medical, scan, anatomy | Fundus photograph of a retina with blood vessels and the optic disc. | retina, blood vessels, optic disc | medicine | clinical",
    "Hubble deep field of galaxies | astronomy, galaxies, space | Thousands of distant galaxies of every colour against a black sky, seen by the Hubble telescope. | galaxies, stars | universe, science | wonder",
    "Chinese temple with tiled roof | architecture, temple, travel | An ornate Chinese pagoda with red pillars and golden roof tiles under a cloudy sky. | temple, roof, pillars, trees | heritage, travel | serene",
    "Dahlia flower in bloom | nature, flower, macro | A purple dahlia in full bloom with yellow centre against green leaves. | flower, petals, leaves | garden, summer | bright",
    "Golden sunset over the sea | landscape, sunset, sea | The sun sets behind gentle waves, painting clouds orange and pink above a sandy beach. | sun, sea, waves, clouds, beach | evening, holiday | peaceful",
    "Red sports car on a mountain road | vehicle, car, road | A red Ferrari takes a bend on an alpine pass with snowy peaks behind. | car, road, mountains, snow | speed, travel | exciting",
    "Birthday cake with candles | food, dessert, celebration | A chocolate birthday cake with seven lit candles on a party table with balloons. | cake, candles, balloons, table | birthday, family | joy",
    "Screenshot of an invoice | document, invoice, screenshot | An invoice from Acme Hosting for 49.00 EUR due on 12 March. | table, text, logo | business, payment | neutral",
    "Golden retriever running on grass | animal, dog, pet | A golden retriever dog runs across a meadow with a tennis ball in its mouth. | dog, ball, grass | play, pets | happy",
    "City skyline at night | cityscape, skyline, night | Skyscrapers with lit windows reflect in the river below a dark blue sky. | skyscrapers, river, bridge, lights | urban life | dramatic",
    "Child building a sandcastle | people, child, beach | A toddler in a blue hat builds a sandcastle with bucket and spade by the sea. | child, bucket, spade, sand | holiday, family | playful",
    "Handwritten recipe for apple pie | document, recipe, handwriting | A handwritten card lists the ingredients for apple pie: flour, butter, sugar and apples. | paper, ink | cooking, family | nostalgic",
    "Snowy mountain peak at dawn | landscape, mountain, snow | First light hits the summit of a snow-covered mountain above a frozen lake. | mountain, snow, lake | winter, hiking | majestic",
    "Wedding couple under an arch | people, wedding, ceremony | A bride in white and a groom in a navy suit kiss under an arch of roses. | bride, groom, roses, arch | love, celebration | romantic",
    "Concert crowd with raised hands | event, concert, music | A crowd in front of a stage with blue and purple lights raises its hands to a rock band. | crowd, stage, lights, guitar | music, night | energetic",
    "Bowl of ramen with egg | food, noodles, japanese | Steaming ramen noodles in a black bowl with half a boiled egg, pork and spring onions. | bowl, noodles, egg, pork | dinner | appetizing",
    "Chart of quarterly revenue | chart, business, slides | A bar chart shows revenue rising from 1.2 to 2.4 million in four quarters. | bars, axis, labels | finance, growth | neutral",
    "Map of the London underground | map, transport, city | A colourful tube map of central London with stations and lines. | map, lines, stations | travel, transport | orderly",
    "Old steam locomotive at a station | vehicle, train, history | A black steam locomotive waits at a platform, white steam around its wheels. | locomotive, platform, steam, rails | railway, heritage | nostalgic",
    "Butterfly on lavender | nature, insect, macro | An orange monarch butterfly drinks from lavender blossoms. | butterfly, lavender | summer, garden | delicate",
    "Football player scoring a goal | sport, football, stadium | A striker in a red jersey kicks the ball past the goalkeeper into the net. | ball, goal, player, stadium | competition | excited",
    "Forest path in autumn | landscape, forest, autumn | A path covered with fallen leaves leads through a forest of yellow and red trees. | trees, leaves, path | hiking, season | tranquil",
    "Vintage typewriter on a desk | object, typewriter, vintage | A green typewriter with a blank sheet of paper beside a desk lamp. | typewriter, paper, lamp | writing, history | nostalgic",
    "Hospital corridor with nurses | people, hospital, work | Two nurses in blue scrubs walk along a bright hospital corridor. | nurses, corridor, bed | health, work | busy",
    "Meme with a surprised face | meme, humour, reaction | A surprised cartoon face with the caption when the build passes on Friday. | face, caption | programming, humour | funny",
    "Whiteboard full of diagrams | document, diagram, office | A whiteboard with boxes and arrows describing a message queue and a database. | whiteboard, marker, arrows | software, architecture | focused",
    "Landscape photo in blue and grey, dim light | photo, landscape orientation, colour | A dim, cool picture in steel blue, slate grey and white; sharp; wide format. | blue, grey, white | cool colours | dim",
    "Portrait-format photo in brown and beige, bright | photo, portrait orientation, colour | A bright, warm picture in saddle brown, beige and ivory; soft; tall format. | brown, beige | warm colours | bright",
    "Square photo in green, evenly lit | photo, square, colour | An evenly lit picture in forest green, olive and lime; sharp; square format. | green, olive | natural colours | even",
    "Harbour with fishing boats | landscape, harbour, boats | Colourful fishing boats lie in a small harbour below white houses. | boats, houses, water | fishing, travel | peaceful",
    "Parking ticket on a windscreen | document, ticket, car | A parking ticket under the wiper of a silver car says 35 pounds to pay in 14 days. | ticket, car, wiper | traffic, law | annoying",
    "Yoga class in a studio | sport, yoga, fitness | Six women stretch on mats in a sunlit studio with a wooden floor. | mats, women, floor | wellness | calm",
    "Bookshelf with old books | object, books, library | Leather-bound books stand on a dark oak shelf in a library. | books, shelf | reading, history | quiet",
    "Kitten sleeping in a basket | animal, cat, kitten | A grey kitten sleeps curled up in a wicker basket. | kitten, basket | pets, home | cosy",
    "Passport page with stamps | document, passport, travel | A passport page with entry stamps of Japan, Peru and Kenya. | passport, stamps | travel | official",
    "Solar panels on a roof | technology, energy, house | Blue solar panels cover the roof of a brick house under a clear sky. | panels, roof, house, sky | renewable energy | clean",
]

# A question, and the positions of the descriptions that belong to it.
QUESTIONS = [
    ("sunsets", {8}),
    ("cat", {2, 37}),
    ("dogs playing", {12}),
    ("where is my passport", {38}),
    ("photos of space", {0, 3, 5}),
    ("coffee in the morning", {1}),
    ("a picture of a red car", {9}),
    ("invoice from acme", {11}),
    ("beach holiday with kids", {8, 14}),
    ("mountains in winter", {16, 9}),
    ("color of the harbor", {33}),
    ("architecture of temples", {6}),
    ("birthday party", {10}),
    ("the train station", {22}),
    ("people getting married wedding", {17}),
    ("revenue growth chart", {20}),
    ("blue and grey", {30}),
    ("butterflies", {23}),
    ("astronauts", {0}),
    ("galaxy", {5}),
    ("nurse at the hospital", {27}),
    ("what did I cook: ramen noodles", {19}),
    ("parking fine ticket", {34}),
    ("sleeping kittens", {37}),
    ("old books in a library", {36}),
    ("football goal", {24}),
    ("skyscraper at night", {13}),
    ("tube map london", {21}),
    ("recipes", {15}),
    ("flowers in the garden", {23, 7}),
]

# Things that hardly a description holds.
STRANGERS = """
abacus aardvark accordion acorn aerial albatross alligator anvil apron aquarium armchair asparagus
asteroid avocado axe badger bagpipe bamboo banana banjo barbecue barometer basketball bassoon beaver
beehive binoculars bison blender bonfire boomerang broccoli bulldozer cactus camel canoe carousel
cathedral cauldron cello chandelier cheetah chimney cobra coconut compass coral cricket crocodile
dandelion dinosaur dolphin donkey dragonfly drum eagle eclipse elephant escalator falcon faucet
ferret flamingo flute fox frog giraffe glacier gondola gorilla grasshopper hammock hamster harp
hedgehog hippo hockey hydrant iguana igloo jaguar jellyfish kangaroo kettle koala lantern lemon
leopard lizard lobster magnet mango microphone mosquito mushroom narwhal octopus olive orchid
ostrich otter owl oyster panda parachute parrot peacock pelican penguin piano pineapple platypus
porcupine puffin pumpkin puppet python quail quartz quilt rabbit raccoon radish raven rhino robin
saddle salmon saxophone scorpion seahorse shark skunk sloth snail spider squid squirrel stork
submarine swan tambourine telescope tiger toucan tractor trombone trumpet tulip turtle ukulele
umbrella unicorn vacuum violin volcano vulture walrus wasp watermelon weasel whale windmill wolf
wombat xylophone yacht yak zebra zucchini
""".split()  # noqa: SIM905 - a list literal would be 150 lines
